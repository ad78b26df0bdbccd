"""The table of a screening, and its page: the most suspicious clips, their frames, and where these are unexpected. Private."""

import base64
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pd.config.screen import ScreenSettings
from pd.dataset.images import encode_png
from pd.dataset.readers.source import plain
from pd.forgery.explain import picture
from pd.forgery.screen import Screened, worst_window
from pd.forgery.windows import Footage

SHOWN = 24  # clips with pictures
LISTED = 500  # lines of the page's table; clips.csv has all
TABLE, PAGE, FIGURES = "clips.csv", "screen.html", "figures.json"


@dataclass(frozen=True)
class Row:
    """A clip in the table.

    Attributes:
        id: 16 hex digits, the `clip_id` of its frames.
        name: its path.
        person: who is in it, where anything says.
        score: mean probability of being forged; None: it could not be scored.
        flagged: the score is above the threshold.
        false_alarms: share of new real clips that score as high.
        missed: share of forged clips of unseen kinds that score below.
        windows: that were scored.
        notes: why it could not be scored, or what is to be known of it.
    """

    id: str
    name: str
    person: str
    score: float | None
    flagged: bool
    false_alarms: float | None
    missed: float | None
    windows: int
    notes: str


def write_found(
    rows: Sequence[Row],
    lines: Sequence[str],
    found: Screened,
    asked: Footage,
    places: Mapping[str, int | None],
    settings: ScreenSettings,
    folder: Path,
) -> None:
    """Write the table, the page and the figures.

    Args:
        rows: a row a clip, the most suspicious first.
        lines: what a reader must know.
        found: the screening.
        asked: the clips that were screened.
        places: id of a clip -> its number in `asked`.
        settings: of the screening.
        folder: is there, and empty.
    """
    with (folder / TABLE).open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Row)])
        writer.writerows([_cell(value) for value in astuple(row)] for row in rows)
    pictures = []
    for row in [row for row in rows if row.score is not None][:SHOWN]:
        place = places[row.id]
        assert place is not None
        window, errors = worst_window(found, asked, place)
        image = base64.b64encode(encode_png(picture(window, errors, found.usual))).decode()
        first = found.worst[place]
        when = f"{first / settings.rate:.1f} to {(first + found.window) / settings.rate:.1f} s of what was read"
        pictures.append((plain(row.name), row, when, image, float(errors.mean()) / max(found.usual, 1e-9)))
    loader = PackageLoader("pd.forgery", "templates")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(
        "screen.html.j2"
    )
    (folder / PAGE).write_text(
        page.render(
            lines=lines,
            pictures=pictures,
            rows=[(plain(row.name), plain(row.person), plain(row.notes), row) for row in rows[:LISTED]],
            more=max(0, len(rows) - LISTED),
            expected=found.expected,
            threshold=found.threshold,
            real=len(found.real),
        ),
        encoding="utf-8",
        errors="replace",
    )
    figures = {
        "threshold": found.threshold,
        "real_clips_held_out": len(found.real),
        "learned": {"people": found.learned[0], "clips": found.learned[1]},
        "expected": [
            {"kind": one.kind, "made": one.made, "clips": one.clips, "auc": one.auc, "missed": one.missed}
            for one in found.expected
        ],
        "lines": list(lines),
    }
    (folder / FIGURES).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _cell(value: object) -> object:
    """A value of the table; text that a spreadsheet would take for a formula is quoted."""
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, str):
        text = plain(value)
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return "" if value is None else value
