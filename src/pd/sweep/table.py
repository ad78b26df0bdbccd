"""The trials worth looking at, as text: the same cells in the terminal and on the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

Row = Mapping[str, Any]

HEADINGS = (
    "", "trial", "re-id quantile", "near-copy quantile", "detectors", "further",
    "kept", "excess", "coverage", "balance", "utility",
)  # fmt: skip
_MOST = 12


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


def cells(row: Row) -> tuple[str, ...]:
    """A trial's cells, one for each of HEADINGS."""
    what = "chosen" if row["chosen"] else "as it is" if row["number"] == 0 and row["kind"] == "cheap" else "Pareto"
    return (
        what + ("" if row["keeps"] or not row["chosen"] else " (misses)"),
        f"{row['number']}" + (f", {row['steps']} steps" if row["steps"] else ""),
        "as it is" if row["reid_quantile"] is None else f"{row['reid_quantile']:.3f}",
        f"{row['near_copy_quantile']:.3f}",
        row["detectors"],
        f"{row['vote']}, k {row['prompt_k']}, guidance {row['guidance']:g}, of {row['candidates']}",
        f"{row['kept']:.3f}",
        _interval(row, "excess"),
        f"{row['coverage']:.3f}",
        "-" if row["balance"] is None else f"{row['balance']:.2f}",
        _interval(row, "utility"),
    )


def sweep_table(rows: Sequence[Row]) -> Table:
    """For the terminal."""
    table = Table(title="sweep")
    for heading in HEADINGS:
        table.add_column(heading)
    for row in worth_showing(rows):
        table.add_row(*cells(row), style="bold" if row["chosen"] else None)
    return table


def _interval(row: Row, name: str) -> str:
    if row[name] is None:
        return "-"
    return f"{row[name]:.3f}\n({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f})"
