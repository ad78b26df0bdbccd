"""The picture of a sweep: what is kept against what leaks, a dot a trial."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from pd.sweep.rule import Constraint

Row = Mapping[str, Any]


def draw(rows: Sequence[Row], constraints: Sequence[Constraint], path: Path | BytesIO, narrow: bool = False) -> None:
    """Write a PNG of kept share against excess re-identification; colours are coverage, lines are constraints on the two.

    Narrow, it is of a phone's width, where the text of a wide one could not be read.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 5.2) if narrow else (8, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = [row for row in rows if row["excess"] is not None]
    for kind, marker, name in (("cheap", "o", "trial"), ("full", "^", "trial with a student")):
        some = [row for row in shown if row["kind"] == kind]
        if some:
            x, y, colour = ([row[key] for row in some] for key in ("kept", "excess", "coverage"))
            dots = axes.scatter(x, y, c=colour, vmin=0, vmax=1, cmap="viridis_r", marker=marker, s=22, label=name, zorder=2)
    if shown:
        what = "coverage" if narrow else "coverage (share of members that the kept set resembles)"
        figure.colorbar(dots, ax=axes, label=what, location="bottom" if narrow else "right")
    best = [row for row in shown if row["pareto"]]
    if best:
        x, y = ([row[key] for row in best] for key in ("kept", "excess"))
        axes.scatter(x, y, facecolors="none", edgecolors="black", s=60, linewidths=0.9, label="Pareto set", zorder=3)
    _mark(
        axes, [row for row in rows if row["number"] == 0 and row["kind"] == "cheap"], "s", "tab:orange", "settings as they are"
    )
    _mark(axes, [row for row in rows if row["chosen"]], "*", "tab:red", "chosen")
    for one in constraints:
        if one.name == "kept":
            axes.axvline(one.bound, color="grey", linestyle="--", linewidth=1, zorder=1, label=str(one))
        elif one.name.startswith("excess"):
            axes.axhline(one.bound, color="grey", linestyle=":", linewidth=1, zorder=1, label=str(one))
    axes.set_xlabel("kept share of the candidates")
    axes.set_ylabel("excess re-identification, worst attacker")
    axes.grid(alpha=0.25)
    axes.legend(loc="best", fontsize=8)
    figure.savefig(path, dpi=150)


def _mark(axes: Any, rows: Sequence[Row], marker: str, colour: str, name: str) -> None:
    """One trial, with its interval."""
    for row in rows:
        if row["excess"] is not None:
            below, above = row["excess"] - row["excess_low"], row["excess_high"] - row["excess"]
            axes.errorbar(row["kept"], row["excess"], yerr=[[below], [above]], color=colour, capsize=3, linewidth=1.2, zorder=4)
            axes.scatter([row["kept"]], [row["excess"]], marker=marker, color=colour, s=90, zorder=5, label=name)
