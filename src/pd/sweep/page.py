"""The page of a sweep: what was chosen and why, the picture, the table. It needs no other file."""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pd.sweep.table import Row, lines, worth_showing


def write_page(trials: Sequence[Row], keeps: bool, words: Sequence[str], picture: Path, path: Path) -> None:
    """Write HTML.

    Args:
        trials: with their verdicts.
        keeps: whether the chosen one keeps the constraints.
        words: lines that say what was done.
        picture: the PNG, which goes into the page.
        path: the file.
    """
    loader = PackageLoader("pd.sweep", "templates")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("sweep.html.j2")
    headings, rows = lines(worth_showing(trials))
    page = template.render(
        words=words,
        picture=base64.b64encode(picture.read_bytes()).decode(),
        headings=headings,
        rows=rows,
        trials=len(trials),
        keeps=keeps,
    )
    path.write_text(page, encoding="utf-8")
