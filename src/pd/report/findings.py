"""What each attack found in what is released, the student and the data, in plain words."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pd.report.words import decimal, dig, in_hundred, measure, why

State = Literal["leak", "borderline", "clear", "trace", "unknown"]
"""`leak`: the interval lies above what chance gives; `borderline`: by less than is shown; `clear`: it does not; `trace`: what
was planted was drawn again, which is of nobody, but shows that the model can remember; `unknown`: not measured, without
interval, with one so wide that it says nothing, or by an attack too weak for its silence to count."""

STATES: Mapping[State, str] = {
    "leak": "leak found",
    "borderline": "borderline",
    "clear": "none shown",
    "trace": "marks drawn again",
    "unknown": "not known",
}


_TOO_WIDE = 1.0
"""An interval as wide as from guessing to certainty holds whatever may be feared and whatever may be hoped for."""


_LOSS_ALONE = "by the loss alone, which misses much; shadow models (audit.shadows) see more"


RELEASED: Mapping[str, str] = {"filtered": "student", "kept": "data"}
"""The arms that are released -> what they are called in a sentence."""

CONDENSED = "condensed set"


def released_in(audit: Mapping[str, Any]) -> Mapping[str, str]:
    """`RELEASED`, and the condensed pictures where they were attacked."""
    return {**RELEASED, "condensed": CONDENSED} if isinstance(dig(audit, "arms", "condensed"), Mapping) else RELEASED


IMAGES = ("kept", "condensed")  # arms without a model

_WORSE: tuple[State, ...] = ("leak", "borderline", "trace", "unknown", "clear")


def worst(states: Iterable[State | None]) -> State:
    """Of what is released the worst counts, and what is not known is never the better for it."""
    return min((state for state in states if state is not None), key=_WORSE.index)


@dataclass(frozen=True)
class Told:
    """What one attack found in one released thing.

    Attributes:
        who: `student` or `data`.
        state: see `State`; None: it cannot be asked of it.
        answer: the figure in words.
        sure: its interval, and what cannot be ruled out.
    """

    who: str
    state: State | None
    answer: str
    sure: str = ""


@dataclass(frozen=True)
class Finding:
    """What one attack found in what is released.

    Attributes:
        attack: its name.
        question: what it asks, as somebody asks who is in the data.
        state: the worst of those told.
        told: the student's, then the data's.
        teacher: the same attack's figure for the teacher, which stays private.
    """

    attack: str
    question: str
    state: State
    told: list[Told]
    teacher: str


@dataclass(frozen=True)
class _Attack:
    """Where an attack's figure lies in an arm, and how it is told.

    Attributes:
        keys: the way to the figure.
        words: the figure in words.
        chance: the figure that means nothing was found.
        ends: an end of the interval in words.
        weak: why nothing found by it means little; empty: it means what it says.
    """

    keys: tuple[str, ...]
    words: Callable[[float], str]
    chance: float = 0.0
    ends: Callable[[float], str] = decimal
    weak: str = ""


def findings_of(audit: Mapping[str, Any]) -> Iterator[Finding]:
    """Attack by attack, those that were not made too."""
    yield _finding(audit, "Re-identification", "Do its pictures look like a person of the private data?", _reid)
    yield _finding(audit, "Extraction", "Does it show a training image again?", _extraction)
    yield _finding(
        audit, "Membership inference", "Can it be told that a picture was used in training?", _membership, model=True
    )
    if any(dig(audit, "arms", arm, "best_match") for arm in released_in(audit)):
        yield _finding(audit, "Best match", "Can it be told from its pictures alone whose pictures were used?", _best_match)
    yield _finding(audit, "Attribute disclosure", "Does it betray a hidden attribute of a person?", _attribute)
    yield _finding(
        audit, "Completing half-hidden pictures", "Can half of a person's picture be guessed from the other half?", _hidden_half
    )
    yield _fingerprints(audit)


def _reid(arm: Any) -> _Attack:
    return _Attack(("reid", "excess"), lambda value: f"{in_hundred(value)} in 100 samples, beyond chance", ends=in_hundred)


def _extraction(arm: Any) -> _Attack:
    """Pictures that are made again and again, or copies that are there once: what is surer."""
    repeated, copies = ("extraction", "excess"), ("extraction", "copies", "excess")
    keys = max(repeated, copies, key=lambda keys: _low(arm, *keys))
    how = "copied" if keys == copies else "made again and again"
    return _Attack(keys, lambda value: f"{in_hundred(value)} in 100 {how}, beyond what strangers give", ends=in_hundred)


def _membership(arm: Any) -> _Attack:
    """The better of the two attacks; the loss by itself hardly ever sees a student's members (RESULTS, likelihood ratio)."""
    keys = ("membership", _worse(arm, "loss", "likelihood_ratio"), "auc")
    weak = "" if measure(dig(arm, "membership", "likelihood_ratio", "auc")) else _LOSS_ALONE
    return _Attack(keys, lambda value: f"AUC {decimal(value)} (guessing: 0.5)", 0.5, weak=weak)


def _best_match(arm: Any) -> _Attack:
    """By single samples or by means of their fellows, what is surer; by the pictures named at one false name in a hundred.

    An AUC above 0.5 by itself is no picture told apart: a generator that drew nothing but the members' mean face has that, too.
    """
    figure = "tpr_at_1" if measure(dig(arm, "best_match", "single", "tpr_at_1")) else "auc"
    keys = max((("best_match", how, figure) for how in ("single", "averaged")), key=lambda keys: _low(arm, *keys))
    if figure == "auc":
        return _Attack(keys, lambda value: f"AUC {decimal(value)} (guessing: 0.5)", 0.5)
    words = "in 100 members' pictures named, where 1 in 100 strangers' is"
    return _Attack(keys, lambda value: f"{in_hundred(value)} {words}", 0.01, ends=in_hundred)


def _attribute(arm: Any) -> _Attack:
    label = str(dig(arm, "attributes", "worst"))
    keys = ("attributes", "by_label", label, "advantage")
    return _Attack(keys, lambda value: f"“{label}” is guessed {decimal(value)} better of members than of strangers")


def _hidden_half(arm: Any) -> _Attack:
    def words(value: float) -> str:
        return f"guessed {decimal(value) if value > 0 else 'no'} better of members than of strangers (1: perfectly)"

    return _Attack(("attributes", "hidden_half", "advantage"), words)


def _finding(
    audit: Mapping[str, Any],
    attack: str,
    question: str,
    of: Callable[[Any], _Attack],
    model: bool = False,
) -> Finding:
    """One attack on what is released; with `model`, it can be asked of a model alone."""
    told = [
        Told(who, None, "not asked: that takes a model") if model and arm in IMAGES else _told(who, dig(audit, "arms", arm), of)
        for arm, who in released_in(audit).items()
    ]
    teacher = dig(audit, "arms", "teacher")
    how = of(teacher)
    figure = measure(dig(teacher, *how.keys))
    return Finding(attack, question, worst(one.state for one in told), told, how.words(figure["value"]) if figure else "")


def _told(who: str, arm: Any, of: Callable[[Any], _Attack]) -> Told:
    if not isinstance(arm, Mapping):
        return Told(who, "unknown", "not audited")
    how = of(arm)
    figure = measure(dig(arm, *how.keys))
    if figure is None:
        reasons = (why(arm, *how.keys[:depth]) for depth in range(1, len(how.keys)))
        return Told(who, "unknown", "not measured", next(filter(None, reasons), ""))
    answer = how.words(figure["value"])
    if "low" not in figure:
        return Told(who, "unknown", answer, "no interval was measured")
    if how.keys[0] == "reid" and (other := _of_reid(who, arm, answer)):
        return other
    state: State = "leak" if figure["low"] > how.chance else "clear"
    low = how.ends(figure["low"])
    if state == "leak" and low == how.ends(how.chance):
        state, low = "borderline", f"just above {low}"
    sure = f"95 % interval {low} to {how.ends(figure['high'])}"
    if state == "clear" and figure["high"] - figure["low"] >= _TOO_WIDE:
        state, sure = "unknown", f"{sure}: too wide to tell, for there are too few people"
    elif state == "clear" and how.weak:
        state, sure = "unknown", f"{sure}: {how.weak}"
    return Told(who, state, answer, sure)


def _of_reid(who: str, arm: Any, answer: str) -> Told | None:
    """Where excess re-identification means something else than it says; None: it means what it says."""
    figure, toward = (measure(dig(arm, "reid", key)) or {} for key in ("excess", "toward_holdout"))
    if figure.get("low", 0.0) > 0:
        return None
    if toward.get("low", 0.0) > 0:
        ends = f"95 % interval {in_hundred(toward['low'])} to {in_hundred(toward['high'])}"
        words = f"{in_hundred(toward['value'])} in 100 more pass for hold-out people than for members"
        return Told(who, "leak", words, f"{ends}: the hold-out people were learned from, or exchanged with the members")
    nothing = dig(arm, "reid", "says_nothing")
    return Told(who, "unknown", answer, str(nothing)) if nothing else None


def _fingerprints(audit: Mapping[str, Any]) -> Finding:
    """From how many copies on the student draws a planted mark again: the fewest whose interval lies above chance.

    The data are not looked at: the run whose images carry marks releases none.
    """
    attack, question = "Fingerprints", "Is a mark that was planted in training images drawn again?"
    doses = dig(audit, "fingerprints", "doses")
    first: dict[str, str] = {}
    for who in ("student", "teacher"):
        found = dig(audit, "fingerprints", who)
        if not isinstance(doses, list) or not isinstance(found, list) or len(found) != len(doses):
            continue
        # A mark is sometimes seen where none is: as often as one that was planted nowhere.
        nowhere = dig(audit, "fingerprints", "control", who)
        chance = max((figure["value"] for entry in nowhere or () if (figure := measure(entry))), default=0.0)
        figures = [measure(entry) for entry in found]
        seen = [dose for dose, figure in zip(doses, figures, strict=True) if figure and figure.get("low", 0.0) > chance]
        first[who] = f"drawn again from {min(seen)} copies on" if seen else f"never, planted up to {max(doses)} times"
    if "student" in first:
        told = Told("student", "clear" if first["student"].startswith("never") else "trace", first["student"])
    else:
        told = Told("student", "unknown", "not measured", why(audit, "fingerprints"))
    return Finding(attack, question, worst([told.state]), [told], first.get("teacher", ""))


def _low(arm: Any, *keys: str) -> float:
    """Where the interval of a figure begins; below everything where there is none."""
    return (measure(dig(arm, *keys)) or {}).get("low", -math.inf)


def _worse(arm: Any, *attacks: str) -> str:
    """The membership attack that tells members best; the first when none was made."""
    found = {attack: figure["value"] for attack in attacks if (figure := measure(dig(arm, "membership", attack, "auc")))}
    return max(found, key=lambda attack: found[attack]) if found else attacks[0]
