"""Tar shards as WebDataset writes them, as private input: pictures, beside each a text and a JSON of what is known of it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pd.config import ColumnSettings
from pd.dataset.containers import Beside, members
from pd.dataset.decode import SUFFIXES
from pd.dataset.readers.columns import is_plain
from pd.dataset.readers.json_lines import table_of
from pd.dataset.readers.manifest import source_of
from pd.dataset.readers.source import Source
from pd.dataset.readers.table import table_in_memory
from pd.errors import UserError
from pd.store.places import Place

_BESIDE = (".json", ".txt", ".cls")
_LONGEST_TEXT = 1 << 16  # bytes of a file beside a picture
_NAME, _SHARD, _BEGIN, _LENGTH = "__name__", "__shard__", "__begin__", "__length__"


def tar_shards(path: Path, columns: ColumnSettings, identity_from: int | str | None, largest: int) -> Source:
    """Every picture of the shards. `NAME.json` holds its identity and labels, `NAME.txt` its caption, `NAME.cls` its class.

    Args:
        path: a tar file, or a folder of them.
        columns: which key of the JSON says what.
        identity_from: a pattern or a depth, where the name in the shard says who is shown.
        largest: bytes of a picture that are read at most, plus one.

    Raises:
        UserError: no shard, no picture, a shard that cannot be read, or no key of the JSON says who is shown.
    """
    place = Place.parse(str(path))
    shards = [file.name for file in place.files() if file.name.lower().endswith(".tar")]
    if not shards:
        raise UserError("no tar shard here", code="no-images", where=str(path), fix="name a tar file, or a folder of them")
    records = [record for number, shard in enumerate(shards) for record in _records(place, shard, number)]
    if not records:
        raise UserError("no picture in these shards", code="no-images", where=str(path), fix=f"read are {' '.join(SUFFIXES)}")
    table = table_in_memory(table_of(records, str(path)), str(path))
    columns = columns.model_copy(update={"image": _NAME})
    if columns.labels is None:
        hidden = {_NAME, _SHARD, _BEGIN, _LENGTH, "caption", "split", "identity", *_named(columns)}
        others = (field.name for field in table.schema if field.name not in hidden and is_plain(field.type))
        columns = columns.model_copy(update={"labels": tuple(others)})

    def read(record: Mapping[str, Any]) -> bytes:
        with place.open(shards[record[_SHARD]]) as file:
            data: bytes = file.read_at(min(record[_LENGTH], largest + 1), record[_BEGIN])
        return data

    files = tuple(path if place.is_file else path / shard for shard in shards)
    return source_of(table, path, columns, identity_from, files=files, read=read)


def _named(columns: ColumnSettings) -> tuple[str | None, ...]:
    return columns.identity, columns.caption, columns.split, columns.findings


def _records(place: Place, shard: str, number: int) -> Iterator[dict[str, object]]:
    pictures, texts = members(place, shard), members(place, shard, _BESIDE)
    beside = Beside(texts)
    with place.open(shard) as file:
        for name, (begin, length) in pictures.items():
            said: dict[str, object] = {}
            for suffix in _BESIDE:
                spot = texts.get(beside.find(name, suffix) or "")
                if spot is None or not 0 < spot[1] <= _LONGEST_TEXT:
                    continue
                text = file.read_at(spot[1], spot[0]).decode(errors="replace").strip()
                said |= _said(text, suffix)
            clean = name.removeprefix("./")
            yield said | {_NAME: clean, _SHARD: number, _BEGIN: begin, _LENGTH: length}


def _said(text: str, suffix: str) -> dict[str, object]:
    if suffix == ".txt":
        return {"caption": text}
    if suffix == ".cls":
        return {"class": text}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
