"""Images that a command takes by an option, in any form: as they lie, or brought in by a reader or a preset.

Folders of images, Parquet and tar shards are read where they lie. What only a reader opens (DICOM, a saved data set, a table
of paths, clips, a preset's layout) is decoded once into Parquet of pd's own, in a folder of the command's work.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pd.config import ColumnSettings, DataSettings, digest_of
from pd.config.mirrored import mirrored
from pd.config.sources import PRESETS, READERS
from pd.dataset.cache import GROUP, keep_only
from pd.dataset.containers import LABEL
from pd.dataset.decode import SUFFIXES
from pd.dataset.decoding import Good, decoded_rows
from pd.dataset.external import CONTAINERS, Listing, list_images, read_texts, read_values
from pd.dataset.ingest import SHARD_ROWS, fingerprint
from pd.dataset.ingest_report import counted, not_taken, refuse_bad, set_aside
from pd.dataset.private import CLIP, labels_of
from pd.dataset.readers import delimited, dicom, json_lines
from pd.dataset.readers.bucket import fetched
from pd.dataset.readers.choose import open_source
from pd.dataset.readers.guess import SAVED, guess
from pd.dataset.readers.identity import IF_SAID
from pd.dataset.readers.manifest import text_of
from pd.dataset.readers.normal import normal
from pd.dataset.readers.source import SECONDARY, BadRow, Row, Source, plain
from pd.dataset.schema import IMAGE, image_schema
from pd.dataset.video_file import SUFFIXES as VIDEO
from pd.dataset.worked_out import report_values
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.store.atomic import write_folder, write_json
from pd.store.places import Place

FOLDER = "folder"  # the label that image files have: the folder that each lies in
_NAME, _IDENTITY, _PROMPT = "name", "identity", "prompt"  # columns beside `image`
_LINES = "_lines.json"
_DRAWN = "images"
_COLUMNS = ("no-such-column", "bad-column", "unknown-name")  # errors of columns that are not there
_TABLES = (*delimited.SUFFIXES, *json_lines.SUFFIXES)
_READERS = ("manifest", "huggingface", "dicom", "video")  # what they open is not read as it lies

Value = str | float | None


@dataclass(frozen=True)
class Readable:
    """Images that can be read as `pd.dataset.external` reads them, and what is said of each.

    Attributes:
        place: where they lie, or where they were brought to; its text is what the user wrote.
        images: which there are.
        lines: what was not taken, and what whoever reads them should know.
        how: how they were brought in; None: they are read as they lie.
    """

    place: Place
    images: Listing
    lines: tuple[str, ...] = ()
    how: DataSettings | None = None

    @classmethod
    def as_it_lies(cls, place: Place) -> "Readable":
        """The images of a folder, of Parquet or of tar shards; raises UserError as `list_images` does."""
        return cls(place, list_images(place))

    def texts(self, images: Listing) -> tuple[list[str], dict[str, npt.NDArray[np.float64]]]:
        """Prompts and labels of some of the images, as `read_texts`; a column of few words is a label for each, `NAME=WORD`."""
        prompts, numbers = read_texts(self.place, images)
        if self.how is not None and (words := [name for name, number in self._labels().items() if not number]):
            found = self._columns(images, words)
            table = pa.table({name: pa.array(values, pa.string()) for name, values in found.items()})
            numbers |= labels_of(table, pa.array([True] * len(images), pa.bool_()))
        return prompts, numbers

    def labelled(self) -> tuple[list[str], dict[str, list[Value]]]:
        """Prompts, and of each label what it says of every image: words, or numbers; None where it says nothing.

        Where there is no label the folder that each image lies in is one, `FOLDER`.
        """
        prompts, numbers = read_texts(self.place, self.images)
        found: dict[str, list[Value]] = {
            name: [None if value != value else value for value in values.tolist()] for name, values in numbers.items()
        }
        if self.how is not None:
            found = self._columns(self.images, list(self._labels()))
        if not found:
            found[FOLDER] = [name.rpartition("/")[0] for name in self.images.ids]
        return prompts, found

    def values(self, label: str, other: str) -> list[dict[str, Value]]:
        """What a label, and another column such as `identity`, say of each image, as `read_values`."""
        if self.how is None:
            return read_values(self.place, self.images, [label, other])
        rows: list[dict[str, Value]] = read_values(self.place, self.images, [other])
        if label in self._labels():
            for row, value in zip(rows, self._columns(self.images, [label])[label], strict=True):
                row[label] = value
        return rows

    def people(self) -> list[str] | None:
        """Who is in each of images that were brought in; None where nobody is named.

        Raises:
            UserError: some images have no name.
        """
        rows = read_values(self.place, self.images, [_IDENTITY])
        who = [str(row[_IDENTITY]) for row in rows if row[_IDENTITY] is not None]
        if who and len(who) < len(rows):
            what = f"{len(rows) - len(who)} images without a person"
            raise UserError(what, code="bad-row", where=str(self.place), fix="name everybody, or nobody")
        return who or None

    def _labels(self) -> dict[str, bool]:
        """Names of the labels of images that were brought in, and whether they are numbers."""
        schema = pq.read_schema(next(Path(self.place.path).glob("*.parquet")))
        columns = [field for field in schema if field.name.startswith(LABEL)]
        return {field.name.removeprefix(LABEL): bool(pa.types.is_floating(field.type)) for field in columns}

    def _columns(self, images: Listing, names: list[str]) -> dict[str, list[Value]]:
        """Labels of images that were brought in, those of a report labeler read as the settings ask."""
        assert self.how is not None
        rows, numbers = read_values(self.place, images, [f"{LABEL}{name}" for name in names]), self._labels()
        found: dict[str, list[Value]] = {}
        for name in names:
            values = [row[f"{LABEL}{name}"] for row in rows]
            if numbers[name]:
                given = np.array([np.nan if value is None else value for value in values], np.float64)
                read = report_values(name, given, self.how.uncertain, self.how.unmentioned)
                values = [None if value != value else value for value in read.tolist()]
            found[name] = values
        return found


def layout(name: str) -> dict[str, str]:
    """`reader` or `preset` of that name, as keys of `data`.

    Raises:
        UserError: there is neither.
    """
    if name in (*_READERS, "folder"):
        return {"reader": name}
    presets = [*PRESETS, *sorted(one.name for one in entry_points(group=READERS))]
    if name not in presets:
        fix = f"name one of {', '.join(('folder', *_READERS, *presets))}"
        raise UserError(f"no reader or preset is called '{plain(name)}'", code="unknown-name", fix=fix)
    return {"preset": name}


def reading(place: Place, data: DataSettings, *, by_columns: bool = True) -> DataSettings | None:
    """How the images of a place are to be brought in; None: they are read as they lie.

    Args:
        place: here, at `s3://`, or, where the reader is huggingface, a hub id.
        data: `preset` and `reader`, where they are given, say it; else what lies there does. Image files, Parquet and tar
            shards are read as they lie, unless `columns` or `identity_from` say something of them that only a reader reads.
        by_columns: whether these two do.

    Raises:
        UserError: there is nothing, or the reader is faces, which reads no path.
    """
    named = "reader" in data.model_fields_set
    asked: Mapping[str, str] | None = {}
    if data.preset is None and named and data.reader == "faces":
        what = "the reader 'faces' reads pd's own pictures, and no path"
        raise UserError(what, code="bad-options", where="data.reader", fix=f"name one of {', '.join(('folder', *_READERS))}")
    if data.preset is None and named and data.reader == "folder":
        asked = {} if data.identity_from is not None else None
    elif data.preset is None and not (named and data.reader in _READERS):
        asked = _looks(place)
        if asked is None and by_columns and (data.identity_from is not None or data.columns != ColumnSettings()):
            asked = _by_columns(place, data)
    if asked is None:
        return None
    path = mirrored(place.text) if place.remote else Path(place.text)
    return data.model_copy(update={**asked, "path": path})


def bring_in(
    place: Place,
    how: DataSettings,
    folder: Path,
    progress: Progress = silent,
    *,
    foreign_columns: bool = False,
    draw: tuple[int, int] | None = None,
) -> Readable:
    """Decode the images of a place by their reader into a folder of `folder`, unless they are there, and open them.

    Nobody need be named in them. Other images, files that have changed and other settings are read anew; what was there of
    others is removed.

    Args:
        place: where they lie.
        how: as `reading` gives it.
        folder: of nothing else.
        progress: called after each image.
        foreign_columns: `how.columns` is about other images, and counts only where these have such columns; `folder` is new.
        draw: so many images, drawn by this seed; None: all. Of clips all are read: to count their frames is to decode them.

    Raises:
        UserError: they cannot be read, there is none, or one is bad and `on_bad_image` is `stop`.
    """
    if how.preset is None or how.preset in PRESETS:
        how = how.model_copy(update={"identity_from": how.identity_from or IF_SAID})
    if how.preset is None and how.reader == "video":
        draw = None
    ways = [how]
    if foreign_columns and how.columns != ColumnSettings():
        ways.append(how.model_copy(update={"columns": ColumnSettings()}))
    key = _DRAWN if foreign_columns else digest_of([fingerprint(how), how.model_dump(mode="json"), draw])
    keep_only(folder, key)
    folder = folder / key
    while not folder.exists():
        try:
            with fetched(ways.pop(0)) as here:
                source = normal(open_source(here))
                with write_folder(folder) as aside:
                    _write(source, here, aside, progress, draw)
        except UserError as error:
            if error.code not in _COLUMNS or not ways:
                raise
    files = sorted(folder.glob("*.parquet"))
    ids = [pq.read_table(file, columns=[_NAME])[_NAME].to_pylist() for file in files]
    names = [f"{file.name}#{row}" for file, known in zip(files, ids, strict=True) for row in range(len(known))]
    nowhere = np.zeros(len(names), np.int64)
    images = Listing(names, nowhere, nowhere, list(chain.from_iterable(ids)))
    lines = tuple(map(str, json.loads((folder / _LINES).read_text(encoding="utf-8"))))
    return Readable(Place(place.text, str(folder.absolute()), False), images, lines, how)


def _looks(place: Place) -> Mapping[str, str] | None:
    """The reader that what lies there asks for; None for what is read as it lies."""
    name = place.path.rpartition("/")[2].lower()
    if place.is_file:
        if name.endswith(_TABLES):
            return {"reader": "manifest"}
        return {"reader": "video"} if name.endswith(VIDEO) else None
    found = None if place.remote else guess(place.path).get("reader", "")
    if found is not None and found not in _READERS:
        return None
    # of a folder here the first files were looked at; an image or a container anywhere decides
    names = [file.name for file in place.files() if not file.link]
    if any(name.lower().endswith((*SUFFIXES, *CONTAINERS)) for name in names):
        return None
    if found is None:
        endings = (("huggingface", SAVED), ("dicom", dicom.SUFFIXES), ("video", VIDEO))
        found = next((reader for reader, ends in endings if any(name.lower().endswith(ends) for name in names)), None)
    return None if found is None else {"reader": found}


def _by_columns(place: Place, data: DataSettings) -> Mapping[str, str] | None:
    """The reader of images that could be read as they lie, where the settings name columns or parts of the path."""
    names = [file.name.lower() for file in place.files() if not file.link]
    if any(name.endswith(SUFFIXES) for name in names):
        return {"reader": "folder"} if data.identity_from is not None else None
    if any(name.endswith(".tar") for name in names):
        return {"preset": "webdataset"}
    return {"reader": "manifest" if place.is_file else "huggingface"}


def _write(source: Source, settings: DataSettings, out: Path, progress: Progress, draw: tuple[int, int] | None) -> None:
    """The source's images as `out/part-*.parquet`, columns `image`, `name`, `identity`, `prompt` and `label.NAME`."""
    labels = {_label(name): _is_number(kind) for name, kind in source.labels.items() if name not in (_PROMPT, CLIP)}
    schema = image_schema(
        [("image", IMAGE), *((name, pa.string()) for name in (_NAME, _IDENTITY, _PROMPT))]
        + [(f"{LABEL}{name}", pa.float64() if number else pa.string()) for name, number in labels.items()]
    )
    bad: list[BadRow] = []
    taken: set[str] = set()
    records: list[dict[str, object]] = []
    writer: pq.ParquetWriter | None = None

    def flush() -> None:
        nonlocal writer
        first = len(taken) - len(records)
        if first % SHARD_ROWS == 0 and writer is not None:
            writer.close()
            writer = None
        writer = writer or pq.ParquetWriter(out / f"part-{first // SHARD_ROWS:05d}.parquet", schema)
        writer.write_table(pa.Table.from_pylist(records, schema))
        records.clear()

    rows = source.rows() if draw is None else _drawn(source, *draw)
    total = source.total if draw is None else min(source.total, draw[0])
    try:
        for done, item in enumerate(decoded_rows(rows, settings), start=1):
            progress(done, total, {"bad": len(bad)})
            if isinstance(item, BadRow):
                bad.append(item)
                continue
            records.append(_record(item, labels, taken))
            if len(records) == GROUP:
                flush()
        if records:
            flush()
    finally:
        if writer is not None:
            writer.close()
    if settings.on_bad_image == "stop":
        refuse_bad(bad, source.where)
    if not taken:
        out_of = [*([counted(bad)] if bad else []), *(f"{count} {kind} left out" for kind, count in source.left_out.items())]
        fix = "data.dicom.secondary: read takes secondary captures" if SECONDARY in source.left_out else ""
        because = f" ({', '.join(out_of)})" if out_of else ""
        raise UserError(f"no usable image{because}", code="no-images", where=source.where, fix=fix)
    lines = [*([set_aside(bad)] if bad else []), *not_taken(source.ignored, source.left_out, source.of_clips), *source.notes]
    write_json(out / _LINES, lines)


def _drawn(source: Source, count: int, seed: int) -> Iterator[Row | BadRow]:
    """Some of a source's rows, in order; of all of them nothing is decoded to choose."""
    total = sum(1 for _ in source.rows())
    chosen = set(np.random.default_rng(seed).permutation(total)[:count].tolist())
    return (row for place, row in enumerate(source.rows()) if place in chosen)


def _record(good: Good, labels: Mapping[str, bool], taken: set[str]) -> dict[str, object]:
    """A row. Its name, which no other has, is what people know the image by."""
    row, name, again = good.row, good.row.name, 1
    while name in taken:  # a table may list a picture twice
        again += 1
        name = f"{row.name}#{again}"
    taken.add(name)
    values = {_label(key): value for key, value in row.labels.items()}
    said = {key: _number(values.get(key)) if number else text_of(values.get(key)) or None for key, number in labels.items()}
    return {
        "image": {"bytes": good.png, "path": None},
        _NAME: name,
        _IDENTITY: row.identity or None,
        _PROMPT: row.caption or text_of(row.labels.get(_PROMPT)),
        **{f"{LABEL}{key}": value for key, value in said.items()},
    }


def _label(name: str) -> str:
    """A label's name; those of what pd wrote are called `label.NAME` in its columns."""
    return name.removeprefix(LABEL)


def _number(value: object) -> float | None:
    with suppress(TypeError, ValueError):
        number = float(value)  # type: ignore[arg-type]
        return number if np.isfinite(number) else None
    return None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))
