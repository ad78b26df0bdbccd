"""What each attack found in the released student, in plain words."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pd.report.words import decimal, dig, in_hundred, measure, why

State = Literal["leak", "borderline", "clear", "trace", "unknown"]
"""`leak`: the interval lies above what chance gives; `borderline`: by less than is shown; `clear`: it does not; `trace`: what
was planted was drawn again, which is of nobody, but shows that the model can remember; `unknown`: not measured, without
interval, or with one so wide that it says nothing."""

STATES: Mapping[State, str] = {
    "leak": "leak found",
    "borderline": "borderline",
    "clear": "none shown",
    "trace": "marks drawn again",
    "unknown": "not known",
}


_TOO_WIDE = 1.0
"""An interval as wide as from guessing to certainty holds whatever may be feared and whatever may be hoped for."""


@dataclass(frozen=True)
class Finding:
    """What one attack found in the released student.

    Attributes:
        attack: its name.
        question: what it asks, as somebody asks who is in the data.
        state: see `State`.
        answer: the figure in words.
        sure: its interval, and what cannot be ruled out.
        teacher: the same attack's figure for the teacher, which stays private.
    """

    attack: str
    question: str
    state: State
    answer: str
    sure: str
    teacher: str


def findings_of(audit: Mapping[str, Any]) -> Iterator[Finding]:
    """Attack by attack, those that were not made too."""
    student = dig(audit, "arms", "filtered")
    teacher = dig(audit, "arms", "teacher")
    yield _finding(
        "Re-identification",
        "Do its pictures look like a person it learned from?",
        (student, teacher),
        ("reid", "excess"),
        0.0,
        lambda value: f"{in_hundred(value)} in 100 samples, beyond chance",
    )
    yield _finding(
        "Extraction",
        "Does it draw a training image again?",
        (student, teacher),
        # Pictures that are made again and again, or copies that are there once: what is surer.
        max(("extraction", "excess"), ("extraction", "copies", "excess"), key=lambda keys: _low(student, *keys)),
        0.0,
        lambda value: f"{in_hundred(value)} in 100, beyond what strangers give",
    )
    attack = _worse(student, "loss", "likelihood_ratio")
    yield _finding(
        "Membership inference",
        "Can it be told that a picture was used in training?",
        (student, teacher),
        ("membership", attack, "auc"),
        0.5,
        lambda value: f"AUC {decimal(value)} (guessing: 0.5)",
        decimal,
    )
    label = dig(student, "attributes", "worst")
    yield _finding(
        "Attribute disclosure",
        "Does it betray a hidden attribute of a person?",
        (student, teacher),
        ("attributes", "by_label", str(label), "advantage"),
        0.0,
        lambda value: f"“{label}” is guessed {decimal(value)} better of members than of strangers",
        decimal,
        why(student, "attributes"),
    )
    yield _finding(
        "Hidden half",
        "Can half of a person's picture be guessed from the other half?",
        (student, teacher),
        ("attributes", "hidden_half", "advantage"),
        0.0,
        lambda value: f"guessed {decimal(value) if value > 0 else 'no'} better of members than of strangers (1: perfectly)",
        decimal,
    )
    yield _fingerprints(audit)


def _finding(
    attack: str,
    question: str,
    arms: tuple[Any, Any],
    keys: tuple[str, ...],
    chance: float,
    words: Callable[[float], str],
    ends: Callable[[float], str] = in_hundred,
    reason: str = "",
) -> Finding:
    """One attack on (student, teacher), whose figures lie at `keys` of each."""
    student, teacher = (measure(dig(arm, *keys)) for arm in arms)
    other = words(teacher["value"]) if teacher else ""
    if student is None:
        told = reason or next((text for i in range(1, len(keys)) if (text := why(arms[0], *keys[:i]))), "")
        return Finding(attack, question, "unknown", "not measured", told, other)
    if "low" not in student:
        return Finding(attack, question, "unknown", words(student["value"]), "no interval was measured", other)
    state: State = "leak" if student["low"] > chance else "clear"
    low = ends(student["low"])
    if state == "leak" and low == ends(chance):
        state, low = "borderline", f"just above {low}"
    sure = f"95 % interval {low} to {ends(student['high'])}"
    if state == "clear" and student["high"] - student["low"] >= _TOO_WIDE:
        state, sure = "unknown", f"{sure}: too wide to tell, for there are too few people"
    return Finding(attack, question, state, words(student["value"]), sure, other)


def _fingerprints(audit: Mapping[str, Any]) -> Finding:
    """From how many copies on the student draws a planted mark again: the fewest whose interval lies above chance."""
    question = "Is a mark that was planted in training images drawn again?"
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
    if "student" not in first:
        return Finding(
            "Fingerprints", question, "unknown", "not measured", why(audit, "fingerprints"), first.get("teacher", "")
        )
    state: State = "clear" if first["student"].startswith("never") else "trace"
    return Finding("Fingerprints", question, state, first["student"], "", first.get("teacher", ""))


def _low(arm: Any, *keys: str) -> float:
    """Where the interval of a figure begins; below everything where there is none."""
    return (measure(dig(arm, *keys)) or {}).get("low", -math.inf)


def _worse(arm: Any, *attacks: str) -> str:
    """The membership attack that tells members best; the first when none was made."""
    found = {attack: figure["value"] for attack in attacks if (figure := measure(dig(arm, "membership", attack, "auc")))}
    return max(found, key=lambda attack: found[attack]) if found else attacks[0]
