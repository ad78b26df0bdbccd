"""What an audit of somebody's images means for a limit: a leak, clear, or that it cannot tell; in words that say what to do."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pd.audit.estimate import Estimate
from pd.audit.results import ArmResult, Power
from pd.report.findings import best_match, told
from pd.report.formatting import decimal, excess_of, in_hundred
from pd.report.verdict import missed_words

Outcome = Literal["leak", "cannot tell", "clear"]
"""`leak`: the interval lies above the limit; `clear`: below it; `cannot tell`: it holds the limit, or says nothing."""

_WORSE: tuple[Outcome, ...] = ("leak", "cannot tell", "clear")
_MOST = 2 / 3  # share of samples: unrelated ones look like some hold-out person a little more often than the stranger rate says
_TIMES = 50  # as many samples: more is no advice
_PEOPLE_TIMES = 1000  # as many people: an audit of six becomes one of thousands, and more is no advice
_HALF = 0.5  # of the pictures: an audit that cannot rule out that so many leak clears nobody; ours
_NORMAL = 1.96


@dataclass(frozen=True)
class Judged:
    """An outcome and its reason.

    Attributes:
        outcome: see `Outcome`.
        words: a sentence or two.
    """

    outcome: Outcome
    words: str


def against(figure: Estimate, limit: float) -> Outcome:
    """Where an interval lies: above a limit, below it, or around it."""
    if figure.low > limit:
        return "leak"
    return "clear" if figure.high <= limit else "cannot tell"


def worst_of(outcomes: list[Outcome]) -> Outcome:
    """The worst; clear of none."""
    return min(outcomes, key=_WORSE.index, default="clear")


def would_tell(figure: Estimate, limit: float, arm: ArmResult | None = None) -> str:
    """How many people or samples would tell on which side of a limit a figure lies, if its value stays what it is.

    Intervals narrow with the root of samples and people. What samples alone would bring follows from the binomial variance
    of the main and the control rate; what is left is the people's.

    Args:
        figure: an interval that holds the limit.
        limit: that it holds.
        arm: of the audit, for excess re-identification: its main and control rates.
    """
    value, n = figure.value, figure.n
    gap = abs(value - limit)
    half = figure.high - value if value < limit else value - figure.low
    if half <= 0 or gap < half / math.sqrt(_PEOPLE_TIMES):
        return f"The figure lies so near to {limit:g} that no audit of a sensible size would tell."
    times = (half / gap) ** 2
    reid = arm.reid if arm else None
    known = [rate.value for rate in (reid.main, reid.control) if rate] if reid else []
    by_chance = _NORMAL**2 * sum(rate * (1 - rate) for rate in known) / n
    by_people = max(half**2 - by_chance, 0.0)
    if len(known) == 2 and by_chance > 0 and by_people < 0.8 * gap**2:
        enough = math.ceil(n * by_chance / (gap**2 - by_people))
        if enough < _TIMES * n:
            return f"About {enough:,} samples would tell, if the figure stays the same."
    if times > _TIMES:
        return (
            f"There are too few people: about {times:.0f} times as many, members and hold-out, would tell, if the figure stays."
        )
    return (
        f"About {times:.1f} times as many people, members and hold-out, and samples ({math.ceil(times * n):,}) would tell, if "
        "the figure stays the same."
    )


def doubts(arm: ArmResult, *, split_drawn: bool) -> list[Judged]:
    """What makes an arm's excess mean something else than it says, limits or none.

    Args:
        arm: of an audit.
        split_drawn: nobody said who was a member, so that it was drawn at random.
    """
    found: list[Judged] = []
    toward, share, power = arm.reid.toward_holdout if arm.reid else None, _like_holdout(arm), _power(arm)
    known = bool(toward and toward.low > 0)
    if (known or share > _MOST) and split_drawn:
        found.append(
            Judged(
                "cannot tell",
                f"{_holdout_words(toward if known else None, share)} Members and hold-out people were drawn at random, so that "
                "the generator may have learned from both. Say who was a member: a manifest with a `split` column.",
            )
        )
    elif known:
        words = (
            f"{_holdout_words(toward, share)} Either the generator has learned from the hold-out people, or members and "
            "hold-out people were exchanged (column `split`). These people are given away."
        )
        found.append(Judged("leak", words))
    elif share > _MOST:
        words = "If the generator has learned from them, too, they are no strangers, and the leak is larger than it seems."
        found.append(Judged("cannot tell", f"{_holdout_words(None, share)} {words}"))
    if arm.reid and (nothing := arm.reid.says_nothing):
        found.append(
            Judged("cannot tell", f"{nothing} Audit the pictures as the generator made them, upright and without frames.")
        )
    if power.blind:
        found.append(Judged("cannot tell", power.words or ""))
    return found


def _power(arm: ArmResult) -> Power:
    return (arm.reid and arm.reid.power) or Power()


def _like_holdout(arm: ArmResult) -> float:
    by_attacker = arm.reid.by_attacker if arm.reid else {}
    return max((found.like_holdout.value for found in by_attacker.values() if found.like_holdout), default=0.0)


def _holdout_words(toward: Estimate | None, share: float) -> str:
    if toward is None:
        return f"{100 * share:.0f} % of the samples look like hold-out people."
    return (
        f"The samples know the hold-out people: {in_hundred(toward.value)} in 100 more pass for them than for members (95 % "
        f"interval {in_hundred(toward.low)} to {in_hundred(toward.high)})."
    )


def verdict_words(arm: ArmResult, *, split_drawn: bool, planted: Mapping[str, Estimate] | None = None) -> Judged:
    """The verdict on somebody's images without any limit: what gives people away, in plain words, and what to do.

    Args:
        arm: of an audit.
        split_drawn: nobody said who was a member, so that it was drawn at random.
        planted: kind of disguise -> the share of planted copies that the audit caught; what it hardly catches is named.
    """
    judged = _verdict(arm, split_drawn=split_drawn)
    missed = missed_words("The audit", planted or {})
    return Judged(judged.outcome, f"{judged.words} {missed}") if missed else judged


def _verdict(arm: ArmResult, *, split_drawn: bool) -> Judged:
    leaks, clear = [], []
    extracted = arm.extraction
    for figure, words in (
        (excess_of(arm), "pass for a person the generator learned from, beyond chance"),
        (extracted and extracted.copies and extracted.copies.excess, "are a copy of such a person's picture, beyond chance"),
        (extracted and extracted.excess, "are a training picture made again and again"),
    ):
        if not figure:
            continue
        if figure.low > 0:
            ends = f"95 % interval {in_hundred(figure.low)} to {in_hundred(figure.high)}"
            leaks.append(f"{in_hundred(figure.value)} in 100 {words} ({ends})")
        else:
            clear.append(figure.high)
    matched = told("data", arm, best_match) if arm.best_match else None
    named = matched is not None and matched.state == "leak"
    other = doubts(arm, split_drawn=split_drawn)
    doubted = " ".join(one.words for one in other)
    outcome = worst_of([one.outcome for one in other] + (["leak"] if leaks or named else []))
    power = _power(arm).words or ""
    if outcome == "leak":
        found = f"Of these pictures, {'; '.join(leaks)}. " if leaks else ""
        if matched and named:
            found += f"They tell whose pictures were used: by their best matches {matched.answer} ({matched.sure}). "
        return Judged(
            "leak",
            f"leak. {found}{doubted + ' ' if doubted else ''}Do not share them; `pd filter` drops what gives people away.",
        )
    if outcome == "cannot tell":
        return Judged("cannot tell", f"cannot tell. {doubted}")
    most = in_hundred(max(0.0, *clear)) if clear else ""
    if clear and max(clear) >= _HALF:
        words = f"With 95 % confidence between none and {most} in 100 pictures give somebody away: people are too few. {power}"
        return Judged("cannot tell", f"cannot tell. {words}".rstrip())
    most = f" With 95 % confidence at most {most} in 100 pictures give somebody away." if clear else ""
    return Judged("clear", f"no leak is shown.{most} {power}".rstrip())


def limit_words(name: str, figure: Estimate, limit: float, outcome: Outcome, arm: ArmResult) -> str:
    """What became of one limit: the figure with its interval, the outcome, and what would tell where it is open."""
    ends = f"{decimal(figure.value)} ({decimal(figure.low)} to {decimal(figure.high)})"
    text = f"limit {name} = {limit:g}: {outcome}; measured {ends}."
    if outcome == "cannot tell":
        text += f" {would_tell(figure, limit, arm if name.startswith('excess') else None)}"
    return text
