"""`--fail-above excess=0.03`: a limit on what an audit may find, for the pipelines of others."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pd.audit.estimate import Estimate
from pd.audit.figures import measured, why_not
from pd.audit.results import ArmResult
from pd.errors import LeakError, UndecidedError, UserError
from pd.report.findings import named_by_best_match, why_not_named
from pd.report.formatting import excess_of
from pd.report.gate import Outcome, against, doubts, limit_words, verdict_words, worst_of

Of = Callable[[ArmResult], tuple[Estimate | None, str]]


def _hidden_half(arm: ArmResult) -> tuple[Estimate | None, str]:
    found = measured(arm.attributes)
    return found and found.hidden_half and found.hidden_half.advantage, why_not(arm.attributes)


MEASURES: Mapping[str, Of] = {
    "excess": lambda arm: (excess_of(arm), ""),
    "extraction": lambda arm: (arm.extraction and arm.extraction.excess, why_not(arm.extraction)),
    "copies": lambda arm: (
        arm.extraction and arm.extraction.copies and arm.extraction.copies.excess,
        why_not(arm.extraction),
    ),
    "hidden_half": _hidden_half,
    "best_match": lambda arm: (named_by_best_match(arm), why_not_named(arm)),
}
"""What may be limited -> an arm's figure, and why there is none. `pd audit --help` says what they are."""

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
            raise LeakError("a leak, see the verdict", code="leak", where="--fail-above", fix="do not share these images")
        if self.outcome == "cannot tell":
            fix = "see the verdict for what would tell; do not share these images before"
            raise UndecidedError("neither a leak nor clear", code="undecided", where="--fail-above", fix=fix)


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """`excess=0.02` to {"excess": 0.02}.

    Raises:
        UserError: no such measure, no number, or none from 0 to below 1.
    """
    limits: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        _named(name)
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise UserError(f"'{text}' has no number", code="bad-value", where="--fail-above", fix=f"write {name}=0.02")
        if not 0 <= limit < 1:  # nothing lies above 1: such a limit would clear everything
            fix = f"limits are shares, from 0 to below 1: for 2 in 100 write {name}=0.02"
            raise UserError(f"'{text}' limits nothing", code="bad-value", where="--fail-above", fix=fix)
        limits[name] = min(limit, limits.get(name, math.inf))  # the strictest of those given
    return limits


def judge_limits(
    arm: ArmResult,
    limits: Mapping[str, float],
    *,
    split_drawn: bool = False,
    planted: Mapping[str, Estimate] | None = None,
) -> Gate:
    """Hold an arm's intervals against limits.

    Args:
        arm: of an audit.
        limits: measure -> limit; `MEASURE_low` asks only that no leak above it is shown.
        split_drawn: nobody said who was a member, so that it was drawn at random.
        planted: kind of disguise -> the share of planted copies that the audit caught.
    """
    verdict = verdict_words(arm, split_drawn=split_drawn, planted=planted)
    lines, outcomes = [f"Verdict: {verdict.words}"], list[Outcome]()
    for name, limit in limits.items():
        of, low_only = _named(name)
        figure, why = of(arm)
        if figure is None:
            outcomes.append("cannot tell")
            lines.append(f"limit {name} = {limit:g}: cannot tell; it was not measured: {why}. Leave {name} out.")
            continue
        outcome = against(figure, limit)
        if low_only and outcome == "cannot tell":
            outcome = "clear"
        outcomes.append(outcome)
        lines.append(limit_words(name, figure, limit, outcome, arm))
    if limits:
        outcomes += [one.outcome for one in doubts(arm, split_drawn=split_drawn)]
    return Gate(worst_of(outcomes), lines)


def _named(name: str) -> tuple[Of, bool]:
    """A limited figure, and whether only its lower end counts; `excess_high` is `excess`, for older pipelines.

    Raises:
        UserError: no such measure.
    """
    for end in ("", _LOW, _HIGH):
        if name.endswith(end) and (base := name.removesuffix(end)) in MEASURES:
            return MEASURES[base], end == _LOW
    raise UserError(
        f"cannot limit '{name}'", code="unknown-name", where="--fail-above", fix=f"write one of {', '.join(MEASURES)}"
    )
