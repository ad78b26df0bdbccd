"""`--fail-above excess=0.03`: a limit on what an audit may find, for the pipelines of others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pd.errors import LeakError, UndecidedError, UserError
from pd.report.gate import Outcome, against, doubts, limit_words, verdict_words, worst_of
from pd.report.words import dig, why

MEASURES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "excess": (("reid", "excess"), "share of samples that pass for a member beyond chance, by the worst attacker"),
    "extraction": (("extraction", "excess"), "share that are a member's picture made again and again"),
    "copies": (("extraction", "copies", "excess"), "share that are a copy of a member's picture, altered or not"),
    "hidden_half": (("attributes", "hidden_half", "advantage"), "how much better members' hidden halves are guessed"),
}
"""What may be limited: where an arm's figures hold it, and what it is."""

_LOW, _HIGH = "_low", "_high"


@dataclass(frozen=True)
class Gate:
    """What became of all limits.

    Attributes:
        outcome: the worst.
        lines: for people; the first is the verdict.
    """

    outcome: Outcome
    lines: list[str]

    def check(self) -> None:
        """Pass, or say why not.

        Raises:
            LeakError: a figure lies above its limit, or the samples know the hold-out people.
            UndecidedError: the audit cannot tell.
        """
        if self.outcome == "leak":
            raise LeakError("a leak, see the verdict", where="--fail-above", fix="do not share these images")
        if self.outcome == "cannot tell":
            fix = "see the verdict for what would tell; do not share these images before"
            raise UndecidedError("neither a leak nor clear", where="--fail-above", fix=fix)


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """`excess=0.02` to {"excess": 0.02}.

    Raises:
        UserError: no such measure, or no number.
    """
    limits: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if _measure(name) is None:
            raise UserError(f"cannot limit '{name}'", where="--fail-above", fix=f"write one of {', '.join(MEASURES)}")
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = math.nan
        if not math.isfinite(limits[name]):
            raise UserError(f"'{text}' has no number", where="--fail-above", fix=f"write {name}=0.02")
    return limits


def judge_limits(arm: Mapping[str, Any], limits: Mapping[str, float], *, split_drawn: bool = False) -> Gate:
    """Hold an arm's intervals against limits.

    Args:
        arm: one of `arms` of `audit.json`.
        limits: measure -> limit; `MEASURE_low` asks only that no leak above it is shown.
        split_drawn: nobody said who was a member, so that it was drawn by lot.

    Raises:
        UserError: a figure was not measured.
    """
    lines, outcomes = [f"Verdict: {verdict_words(arm, split_drawn=split_drawn).words}"], list[Outcome]()
    for name, limit in limits.items():
        keys, low_only = _measure(name) or ((), False)
        figure = dig(arm, *keys)
        if figure is None:
            raise UserError(f"{name} was not measured: {why(arm, keys[0])}", where="--fail-above", fix=f"leave {name} out")
        outcome = against(figure, limit)
        if low_only and outcome == "cannot tell":
            outcome = "clear"
        outcomes.append(outcome)
        lines.append(limit_words(name, figure, limit, outcome, arm))
    if limits:
        outcomes += [one.outcome for one in doubts(arm, split_drawn=split_drawn)]
    return Gate(worst_of(outcomes), lines)


def _measure(name: str) -> tuple[tuple[str, ...], bool] | None:
    """Where a limited figure is, and whether only its lower end counts; `excess_high` is `excess`, for older pipelines."""
    for end in ("", _LOW, _HIGH):
        if name.endswith(end) and (base := name.removesuffix(end)) in MEASURES:
            return MEASURES[base][0], end == _LOW
    return None
