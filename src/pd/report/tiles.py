"""The numbers to read first."""

from collections.abc import Mapping
from typing import Any

from pd.report import words


def tiles(audit: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(label, figure, note) of excess of teacher, student and data, share kept and usefulness."""
    made, kept = (words.dig(audit, "filter", key) for key in ("candidates", "kept"))
    known = words.is_number(made) and words.is_number(kept)
    return [
        ("Excess re-identification, teacher", *_risk(words.excess(audit, "teacher"))),
        ("Excess re-identification, released student", *_risk(words.excess(audit, "filtered"))),
        ("Excess re-identification, released data", *_risk(words.excess(audit, "kept"))),
        ("Candidates kept", *((f"{int(kept):,}", f"of {int(made):,}") if known else ("–", words.NONE))),
        ("Usefulness of the student", *_useful(audit)),
    ]


def _risk(figure: Mapping[str, float] | None) -> tuple[str, str]:
    if figure is None:
        return "–", words.NONE
    ends = f"{words.percent(figure['low']).removesuffix(' %')} to {words.percent(figure['high'])}" if "low" in figure else ""
    return words.percent(figure["value"]), f"95 % interval {ends}" if ends else "no interval"


def _useful(audit: Mapping[str, Any]) -> tuple[str, str]:
    teacher, student = (words.measure(words.dig(audit, "arms", arm, "utility", "auc")) for arm in ("teacher", "filtered"))
    if student is None:
        return "–", words.NONE
    note = f"AUC on real images; the teacher's {words.decimal(teacher['value'])}" if teacher else "AUC on real hold-out images"
    if student.get("low", 1.0) <= 0.5:
        note += "; its interval holds 0.5, which is guessing"
    return words.decimal(student["value"]), note
