"""`--fail-above excess=0.02`: a limit on what an audit may find, for the pipelines of others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pd.errors import LeakError, UserError
from pd.report.words import dig, why

# What may be limited, and where an arm's figures hold it.
_MEASURES: Mapping[str, tuple[str, ...]] = {
    "excess": ("reid", "excess", "value"),
    "excess_low": ("reid", "excess", "low"),
    "excess_high": ("reid", "excess", "high"),
    "extraction": ("extraction", "excess", "value"),
    "extraction_high": ("extraction", "excess", "high"),
    "copies": ("extraction", "copies", "excess", "value"),
    "copies_high": ("extraction", "copies", "excess", "high"),
    "hidden_half": ("attributes", "hidden_half", "advantage", "value"),
}

_MOST = 2 / 3  # share of samples: unrelated ones look like some hold-out person a little oftener than the stranger rate says


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """`excess=0.02` to {"excess": 0.02}.

    Raises:
        UserError: no such measure, or no number.
    """
    limits: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in _MEASURES:
            raise UserError(f"cannot limit '{name}'", where="--fail-above", fix=f"write one of {', '.join(_MEASURES)}")
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = math.nan
        if not math.isfinite(limits[name]):
            raise UserError(f"'{text}' has no number", where="--fail-above", fix=f"write {name}=0.02")
    return limits


def check_limits(arm: Mapping[str, Any], limits: Mapping[str, float], *, split_drawn: bool = False) -> list[str]:
    """Hold an arm's figures against limits.

    Args:
        arm: one of `arms` of `audit.json`.
        limits: measure -> the largest value that is let pass.
        split_drawn: nobody said who was a member, so that it was drawn by lot.

    Returns:
        Lines for people: where passing means less than it seems.

    Raises:
        LeakError: a figure lies above its limit.
        UserError: passing would mean nothing: the audit was blind, a figure was not measured, or samples look like the
            strangers that were drawn.
    """
    for name, limit in limits.items():
        value = dig(arm, *_MEASURES[name])
        if value is None:
            raise UserError(
                f"{name} was not measured: {why(arm, _MEASURES[name][0])}", where="--fail-above", fix=f"leave {name} out"
            )
        if value > limit:
            raise LeakError(f"{name} is {value:.4f}, above {limit:g}", where="--fail-above", fix="do not share these images")
    power, known = arm["reid"]["power"], strangers_known(arm)
    told = [known] if known else []
    if not limits:
        return told
    if known and split_drawn:
        raise UserError(known, where="--fail-above", fix="say who was a member: a manifest with a `split` column")
    if power["blind"]:
        raise UserError(power["words"], where="--fail-above", fix="more real people or other attackers are needed")
    # A limit on the lower end asks for a leak that is found, whose size the sentence on power tells.
    unseen = [limit for name, limit in limits.items() if name in ("excess", "excess_high") and limit < power["detectable"]]
    if unseen:
        told.append(f"Below the limit of {min(unseen):g}; but that is less than this audit finds reliably.")
    return told


def strangers_known(arm: Mapping[str, Any]) -> str:
    """A sentence where most samples look like hold-out people, as they do of a generator that has learned from these, too."""
    share = max(float(found["like_holdout"]["value"]) for found in arm["reid"]["by_attacker"].values())
    if share <= _MOST:
        return ""
    return (
        f"{100 * share:.0f} % of the samples look like hold-out people. If the generator has learned from them, too, they are "
        "no strangers, and the leak is larger than it seems."
    )
