"""The trials worth looking at, as text: the same cells in the terminal and on the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

Row = Mapping[str, Any]

_TRIED: Mapping[str, str] = {
    "reid_quantile": "re-id\nquantile",
    "near_copy_quantile": "near-copy\nquantile",
    "detectors": "detectors",
    "vote": "vote",
    "prompt_k": "prompt\nk",
    "guidance": "guidance",
    "candidates": "candidates",
}
_FOUND = ("kept", "excess", "coverage", "balance", "utility")
_MOST = 8
_WIDEST = {"detectors": 9, "candidates": 10}


def worth_showing(rows: Sequence[Row], most: int = _MOST) -> list[Row]:
    """The chosen trial, the settings as they are, and the Pareto set: at most so many, evenly over what they keep."""
    best = sorted((row for row in rows if row["pareto"]), key=lambda row: -row["kept"])
    places = range(len(best)) if len(best) <= most else (round(k * (len(best) - 1) / (most - 1)) for k in range(most))
    first = [row for row in rows if row["chosen"]] + [rows[0]]
    shown: list[Row] = []
    for row in [*first, *(best[place] for place in places)]:
        if not any(row is one for one in shown):
            shown.append(row)
    return shown


def lines(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of each trial; of what was tried, only what differs among these trials."""
    tried = [name for name in _TRIED if len({row[name] for row in rows}) > 1]
    headings = ["", "no.", *(_TRIED[name] for name in tried), *_FOUND]
    return headings, [
        [_what(row), _name(row), *(_value(row[name]) for name in tried), *(_figure(row, name) for name in _FOUND)]
        for row in rows
    ]


def sweep_table(rows: Sequence[Row]) -> Table:
    """For the terminal."""
    table = Table(title="sweep", box=SIMPLE, padding=0, show_edge=False)
    shown = worth_showing(rows)
    headings, body = lines(shown)
    for heading in headings:  # 80 columns hold them; what stands below wraps
        split = heading.replace("coverage", "cover-\nage").replace("balance", "bal-\nance")
        least = max(map(len, split.split("\n")))
        table.add_column(split, min_width=least, max_width=max(least, _WIDEST.get(heading, 7)))
    for row, line in zip(shown, body, strict=True):
        table.add_row(*line, style="bold" if row["chosen"] else None)
    return table


def _what(row: Row) -> str:
    if row["chosen"]:
        return "chosen" if row["keeps"] else "chosen\n(misses)"
    return "as it is" if row["number"] == 0 and row["kind"] == "cheap" else "Pareto"


def _name(row: Row) -> str:
    return f"full {row['number']}, {row['steps']:g} steps" if row["steps"] else str(row["number"])


def _value(tried: object) -> str:
    return "as it is" if tried is None else f"{tried:.4g}" if isinstance(tried, float) else str(tried)


def _figure(row: Row, name: str) -> str:
    if row[name] is None:
        return "-"
    if f"{name}_low" not in row:
        return f"{row[name]:.3f}"
    return f"{row[name]:.3f}\n{row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f}"
