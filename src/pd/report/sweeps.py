"""The threshold search: its best trials as a plot, and how one was chosen."""

from collections.abc import Mapping
from typing import Any

from pd.report.figures import ticks
from pd.report.formatting import is_number, percent
from pd.report.plots import Chart, Line, Mark


def sweep_chart(sweep: Mapping[str, Any] | None) -> Chart | None:
    """The trials that no other beats, the chosen one, and the settings as they were: leak over share kept.

    Args:
        sweep: as `pd sweep` writes `sweep.json`; None: there was none.
    """
    best = (sweep or {}).get("pareto")
    rows = [(row, "best", "control") for row in best if isinstance(row, Mapping)] if isinstance(best, list) else []
    # Drawn last, and so on top: what people look for.
    rows += [(row, name, kind) for key, name, kind in _NAMED if isinstance(row := (sweep or {}).get(key), Mapping)]
    known = [(row, name, kind) for row, name, kind in rows if is_number(row.get("kept")) and is_number(row.get("excess"))]
    if not known:
        return None
    marks = [_mark(row, "" if name == "best" else name, kind) for row, name, kind in known]
    front = sorted((row["kept"], row["excess"]) for row, name, _ in known if name == "best")
    low, high = min(0.0, *(mark.low for mark in marks)), max(0.05, *(mark.high for mark in marks)) * 1.05
    return Chart(
        "sweep",
        "Excess re-identification over the share kept, of the trials that no other trial beats, of the chosen one and of the "
        "settings as they were",
        "share of candidates kept",
        "excess re-identification",
        (0.0, 1.04),
        (low, high),
        [(x, percent(x, 0)) for x in ticks(0, 1, 5)],
        [(y, percent(y, 0 if high >= 0.1 else 1)) for y in ticks(low, high, 5)],
        [Line("trials that no other beats", "share", front)] if len(front) > 1 else [],
        marks,
        columns=["Trial", "Kept", "Excess", "95 % interval"],
        rows=[[_name(row, name), *_told(mark)] for (row, name, _), mark in zip(known, marks, strict=True)],
    )


_NAMED = (("as_it_is", "settings as they were", "other"), ("chosen", "chosen", "released"))


def sweep_choice(sweep: Mapping[str, Any] | None) -> str:
    """How the chosen trial was chosen, and what that is worth, in the sweep's own words."""
    words = (sweep or {}).get("words")
    found = [text for text in words if isinstance(text, str)] if isinstance(words, list) else []
    return " ".join(f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in found if text)


def _mark(row: Mapping[str, Any], label: str, kind: str) -> Mark:
    value = float(row["excess"])
    ends = [row.get(key) for key in ("excess_low", "excess_high")]
    low, high = (value if end is None or not is_number(end) else float(end) for end in ends)
    words = [
        _name(row, label),
        f"excess {percent(value)}",
        f"({percent(low)} to {percent(high)})",
        f"kept {percent(row['kept'])}",
    ]
    # The whiskers of forty trials would hide the trials.
    return Mark(label, kind, float(row["kept"]), value, *((low, high) if label else (value, value)), words)


def _name(row: Mapping[str, Any], name: str) -> str:
    number = row.get("number")
    trial = f"trial {number}" if isinstance(number, int) else "trial"
    return trial if name in ("", "best") else f"{name} ({trial})"


def _told(mark: Mark) -> list[str]:
    return [percent(mark.x), percent(mark.y), mark.words[2].strip("()")]
