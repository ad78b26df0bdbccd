"""The page of a sweep: what was chosen and why, the picture, the table. It needs no other file."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pd.sweep.plot import draw
from pd.sweep.rule import Constraint
from pd.sweep.table import Row, lines, worth_showing


def write_page(trials: Sequence[Row], constraints: Sequence[Constraint], keeps: bool, words: Sequence[str], path: Path) -> None:
    """Write HTML.

    Args:
        trials: with their verdicts.
        constraints: lines of the picture.
        keeps: whether the chosen one keeps the constraints.
        words: lines that say what was done.
        path: the file.
    """
    loader = PackageLoader("pd.sweep", "templates")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("sweep.html.j2")
    headings, rows = lines(worth_showing(trials))
    page = template.render(
        words=words,
        wide=_picture(trials, constraints),
        narrow=_picture(trials, constraints, narrow=True),
        headings=headings,
        rows=rows,
        trials=len(trials),
        keeps=keeps,
    )
    path.write_text(page, encoding="utf-8")


def _picture(trials: Sequence[Row], constraints: Sequence[Constraint], narrow: bool = False) -> str:
    """In base64: it goes into the page."""
    file = BytesIO()
    draw(trials, constraints, file, narrow)
    return base64.b64encode(file.getvalue()).decode()
