"""Events of privacy loss as JSON, and as `dp_accounting` knows them: what a ledger is made of.

An event says what a mechanism did, in units of its sensitivity. It is plain data, so that anybody can recompute an epsilon
from it, with `pd` or without.
"""

import logging
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pd.errors import UserError

Event = Mapping[str, Any]
"""A JSON object; `kind` names the mechanism."""

_DEEPEST = 8


def gaussian(noise_multiplier: float) -> Event:
    """Normal noise added to a sum.

    Args:
        noise_multiplier: the noise's standard deviation over the sum's L2 sensitivity.
    """
    return {"kind": "gaussian", "noise_multiplier": noise_multiplier}


def poisson_sampled(probability: float, event: Event) -> Event:
    """A mechanism on a part of the people, each of whom is drawn on their own with this probability."""
    return {"kind": "poisson_sampled", "probability": probability, "event": event}


def one_of(parts: int, event: Event) -> Event:
    """A mechanism on one of so many disjoint parts, drawn uniformly and kept secret."""
    return {"kind": "one_of", "parts": parts, "event": event}


def times(count: int, event: Event) -> Event:
    """The same mechanism so often, each time chosen in the light of what came before."""
    return {"kind": "times", "count": count, "event": event}


def unprotected() -> Event:
    """A use of private data without protection: no epsilon is finite with it."""
    return {"kind": "unprotected"}


def accounting() -> ModuleType:
    """The library `dp_accounting`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import dp_accounting
    except ImportError:
        raise UserError(
            "privacy accounting needs dp-accounting",
            code="missing-package",
            fix='pip install "privacy-distillation[formal]", or dp-accounting',
        ) from None
    # It warns of orders of Renyi's divergence that it leaves out, which is sound.
    logging.getLogger("absl").setLevel(logging.ERROR)
    return dp_accounting  # type: ignore[no-any-return]


def to_library(event: Event, _depth: int = 0) -> Any:
    """The event of `dp_accounting`.

    Raises:
        UserError: a kind or a value that is not known. Nothing is guessed: a batch of fixed size is not a Poisson sample.
    """
    library = accounting()
    kind = event.get("kind") if isinstance(event, Mapping) else None
    if _depth > _DEEPEST:
        raise _bad("events within events, too deep")
    inner = to_library(event["event"], _depth + 1) if isinstance(event, Mapping) and "event" in event else None
    known = set(event) if isinstance(event, Mapping) else set()
    if kind == "gaussian" and known == {"kind", "noise_multiplier"}:
        return library.GaussianDpEvent(_number(event, "noise_multiplier", low=0.0))
    if kind == "poisson_sampled" and known == {"kind", "probability", "event"}:
        return library.PoissonSampledDpEvent(_number(event, "probability", low=0.0, high=1.0), inner)
    if kind == "one_of" and known == {"kind", "parts", "event"}:
        return library.SampledWithoutReplacementDpEvent(_count(event, "parts"), 1, inner)
    if kind == "times" and known == {"kind", "count", "event"}:
        return library.SelfComposedDpEvent(inner, _count(event, "count"))
    if kind == "unprotected" and known == {"kind"}:
        return library.NonPrivateDpEvent()
    if "without_replacement" in str(kind):
        raise UserError(
            "sampling without replacement is not Poisson sampling, and costs more",
            code="bad-ledger",
            where="ledger",
            fix="draw each person on their own with a fixed probability",
        )
    raise _bad(f"an event of kind {str(kind)[:40]!r} with {sorted(map(str, known))[:5]}")


def _number(event: Event, key: str, low: float, high: float = math.inf) -> float:
    value = event[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or not math.isfinite(value):
        raise _bad(f"{key} = {str(value)[:40]}")
    return float(value)


def _count(event: Event, key: str) -> int:
    value = event[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad(f"{key} = {str(value)[:40]}")
    return value


def _bad(what: str) -> UserError:
    return UserError(
        f"no such privacy event: {what}", code="unknown-name", where="ledger", fix="it was not written by this version of pd"
    )
