"""What each attack found in what is released, the student and the data, in plain words."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pd.audit.estimate import Estimate
from pd.audit.figures import NotMeasured, measured, why_not
from pd.audit.judged import Finding, State, Told
from pd.audit.results import ArmResult, AuditResult, BestMatch
from pd.report.formatting import decimal, excess_of, in_hundred

STATES: Mapping[State, str] = {
    "leak": "leak found",
    "borderline": "borderline",
    "clear": "none shown",
    "trace": "canaries drawn again",
    "unknown": "not known",
}


_TOO_WIDE = 1.0
"""An interval as wide as from guessing to certainty holds whatever may be feared and whatever may be hoped for."""


_LOSS_ALONE = "by the loss alone, which misses much; shadow models (audit.shadows) see more"
_FEW_SHADOWS = "by few shadow models, which find less than many (audit.shadows: 16)"
_ENOUGH_SHADOWS = 8  # for their silence to count; ours


RELEASED: Mapping[str, str] = {"filtered": "student", "kept": "data"}
"""The arms that are released -> what they are called in a sentence."""

CONDENSED = "condensed set"


def released_in(audit: AuditResult) -> Mapping[str, str]:
    """`RELEASED`, and the condensed pictures where they were attacked."""
    return {**RELEASED, "condensed": CONDENSED} if "condensed" in audit.arms else RELEASED


IMAGES = ("kept", "condensed")  # arms without a model

_WORSE: tuple[State, ...] = ("leak", "borderline", "trace", "unknown", "clear")


def worst(states: Iterable[State | None]) -> State:
    """Of what is released the worst counts, and what is not known is never the better for it."""
    return min((state for state in states if state is not None), key=_WORSE.index)


@dataclass(frozen=True)
class _Attack:
    """An attack's figure of an arm, and how it is told.

    Attributes:
        figure: None: there is none.
        words: the figure in words.
        why: there is no figure, where that is known.
        chance: the figure that means nothing was found.
        ends: an end of the interval in words.
        weak: why nothing found by it means little; empty: it means what it says.
        other: what the figure means, where that is something else than it says.
    """

    figure: Estimate | None
    words: Callable[[float], str]
    why: str = ""
    chance: float = 0.0
    ends: Callable[[float], str] = decimal
    weak: str = ""
    other: Callable[[str, str], Told | None] = lambda who, answer: None


Asks = Callable[[ArmResult], _Attack]


def findings_of(audit: AuditResult) -> Iterator[Finding]:
    """Attack by attack, those that were not made too."""
    for attack, question, asks in _QUESTIONS:
        if asks is not best_match or any(arm in audit.arms and audit.arms[arm].best_match for arm in released_in(audit)):
            yield _finding(audit, attack, question, asks)
    yield _fingerprints(audit)


def _reid(arm: ArmResult) -> _Attack:
    def other(who: str, answer: str) -> Told | None:
        reid, figure = arm.reid, excess_of(arm)
        if reid is None or (figure and figure.low > 0):
            return None
        toward = reid.toward_holdout
        if toward and toward.low > 0:
            ends = f"95 % interval {in_hundred(toward.low)} to {in_hundred(toward.high)}"
            words = f"{in_hundred(toward.value)} in 100 more pass for hold-out people than for members"
            return Told(who, "leak", words, f"{ends}: the hold-out people were learned from, or exchanged with the members")
        return Told(who, "unknown", answer, reid.says_nothing) if reid.says_nothing else None

    def words(value: float) -> str:
        return f"{in_hundred(value)} in 100 samples, beyond chance"

    return _Attack(excess_of(arm), words, ends=in_hundred, other=other)


def _extraction(arm: ArmResult) -> _Attack:
    """Pictures that are made again and again, or copies that are there once: what is surer."""
    found = arm.extraction
    repeated, copies = (found.excess, found.copies and found.copies.excess) if found else (None, None)
    figure = max(repeated, copies, key=_low)
    how = "copied" if figure is copies and figure is not repeated else "made again and again"

    def words(value: float) -> str:
        return f"{in_hundred(value)} in 100 {how}, beyond what strangers give"

    return _Attack(figure, words, why_not(found), ends=in_hundred)


def _membership(arm: ArmResult) -> _Attack:
    """The better of the two attacks; the loss by itself hardly ever sees a student's members (RESULTS, likelihood ratio)."""
    attacks = measured(arm.membership)
    loss, ratio = (attacks.loss, attacks.likelihood_ratio) if attacks else (None, None)
    aucs = [found.auc for attack in (loss, ratio) if (found := measured(attack)) and found.auc]
    known = measured(ratio)
    few = known is not None and known.shadows is not None and known.shadows < _ENOUGH_SHADOWS
    weak = (_FEW_SHADOWS if few else "") if known and known.auc else _LOSS_ALONE
    why = why_not(arm.membership) or why_not(loss)
    figure = max(aucs, key=_low, default=None)
    return _Attack(figure, _auc, why, 0.5, weak=weak)


def best_match(arm: ArmResult) -> _Attack:
    """By single samples or by means of their fellows, what is surer; by the pictures named at one false name in a hundred.

    An AUC above 0.5 by itself is no picture told apart: a generator that drew nothing but the members' mean face has that, too.
    """
    named = named_by_best_match(arm)
    if named is None:
        return _Attack(max((way.auc for way in _ways(arm)), key=_low, default=None), _auc, chance=0.5)

    def words(value: float) -> str:
        return f"{in_hundred(value)} in 100 members' pictures named, where 1 in 100 strangers' is"

    return _Attack(named, words, chance=0.01, ends=in_hundred)


def named_by_best_match(arm: ArmResult) -> Estimate | None:
    """The share of members' pictures named, at one false name in a hundred; None: too few strangers' pictures to say."""
    return max((measured(way.tpr_at_1) for way in _ways(arm)), key=_low, default=None)


def why_not_named(arm: ArmResult) -> str:
    """Why `named_by_best_match` is None."""
    return next((why for way in _ways(arm) if (why := why_not(way.tpr_at_1))), "no attack by best match was made")


def _ways(arm: ArmResult) -> list[BestMatch]:
    """By single samples and by means of their fellows, as far as they were tried."""
    return [way for way in ((arm.best_match.single, arm.best_match.averaged) if arm.best_match else ()) if way]


def _auc(value: float) -> str:
    return f"AUC {decimal(value)} (guessing: 0.5)"


def _attribute(arm: ArmResult) -> _Attack:
    found = measured(arm.attributes)
    label = str(found.worst) if found else ""
    guessed = found.by_label.get(label) if found else None

    def words(value: float) -> str:
        return f"“{label}” is guessed {decimal(value)} better of members than of strangers"

    return _Attack(guessed.advantage if guessed else None, words, why_not(arm.attributes))


def _hidden_half(arm: ArmResult) -> _Attack:
    found = measured(arm.attributes)
    guessed = found.hidden_half if found else None

    def words(value: float) -> str:
        return f"guessed {decimal(value) if value > 0 else 'no'} better of members than of strangers (1: perfectly)"

    return _Attack(guessed.advantage if guessed else None, words, why_not(arm.attributes))


_QUESTIONS: tuple[tuple[str, str, Asks], ...] = (
    ("Re-identification", "Do its pictures look like a person of the private data?", _reid),
    ("Extraction", "Does it show a training image again?", _extraction),
    ("Membership inference", "Can it be told that a picture was used in training?", _membership),
    ("Best match", "Can it be told from its pictures alone whose pictures were used?", best_match),
    ("Attribute disclosure", "Does it betray a hidden attribute of a person?", _attribute),
    ("Completing half-hidden pictures", "Can half of a person's picture be guessed from the other half?", _hidden_half),
)
_OF_MODELS = (_membership,)  # cannot be asked of data alone


def _finding(audit: AuditResult, attack: str, question: str, asks: Asks) -> Finding:
    """One attack on what is released."""
    each = [
        Told(who, None, "not asked: that takes a model")
        if asks in _OF_MODELS and arm in IMAGES
        else told(who, audit.arms.get(arm), asks)
        for arm, who in released_in(audit).items()
    ]
    teacher = asks(audit.arms["teacher"]) if "teacher" in audit.arms else None
    words = teacher.words(teacher.figure.value) if teacher and teacher.figure else ""
    return Finding(attack, question, worst(one.state for one in each), each, words)


def told(who: str, arm: ArmResult | None, asks: Asks) -> Told:
    if arm is None:
        return Told(who, "unknown", "not audited")
    how = asks(arm)
    figure = how.figure
    if figure is None:
        return Told(who, "unknown", "not measured", how.why)
    answer = how.words(figure.value)
    if other := how.other(who, answer):
        return other
    state: State = "leak" if figure.low > how.chance else "clear"
    low = how.ends(figure.low)
    if state == "leak" and low == how.ends(how.chance):
        state, low = "borderline", f"just above {low}"
    sure = f"95 % interval {low} to {how.ends(figure.high)}"
    if state == "clear" and figure.high - figure.low >= _TOO_WIDE:
        state, sure = "unknown", f"{sure}: too wide to tell, for there are too few people"
    elif state == "clear" and how.weak:
        state, sure = "unknown", f"{sure}: {how.weak}"
    return Told(who, state, answer, sure)


def _fingerprints(audit: AuditResult) -> Finding:
    """From how many copies on the student draws a planted canary again: the fewest whose interval lies above chance.

    The data are not looked at: the run whose images carry canaries releases none.
    """
    attack, question = "Fingerprints", "Is a canary that was planted in training images drawn again?"
    planted = audit.fingerprints
    if planted is None or isinstance(planted, NotMeasured):
        one = Told("student", "unknown", "not measured", why_not(planted))
        return Finding(attack, question, worst([one.state]), [one], "")
    first: dict[str, str] = {}
    nowhere = planted.control
    # A canary is sometimes seen where none is: as often as one that was planted nowhere.
    for who, found, control in (
        ("student", planted.student, nowhere.student if nowhere else []),
        ("teacher", planted.teacher, nowhere.teacher if nowhere else []),
    ):
        chance = max((figure.value for figure in control), default=0.0)
        seen = [repeated for repeated, figure in zip(planted.repetitions, found, strict=True) if figure.low > chance]
        most = max(planted.repetitions, default=0)
        first[who] = f"drawn again from {min(seen)} copies on" if seen else f"never, planted up to {most} times"
    one = Told("student", "clear" if first["student"].startswith("never") else "trace", first["student"])
    return Finding(attack, question, worst([one.state]), [one], first["teacher"])


def _low(figure: Estimate | None) -> float:
    """Where the interval of a figure begins; below everything where there is none."""
    return figure.low if figure else -math.inf
