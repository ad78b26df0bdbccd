"""A table beside images in files: what it says of each."""

import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pd.dataset.readers.delimited import read_delimited
from pd.errors import UserError
from pd.labels.semi_vit import Value

IMAGE, IDENTITY = "image", "identity"
_FIX = "CSV or Parquet with the columns image and the label's"


def values_of(path: Path, column: str, names: Sequence[str]) -> list[dict[str, Value]]:
    """What a table says of each image, by its path: text as it is written, numbers and booleans as numbers.

    Args:
        path: CSV (commas, tabs, semicolons or bars; UTF-8 or UTF-16) or Parquet, with the columns `image`, COLUMN and, where
            people are known, `identity`. Of CSV, empty cells and NA are not known.
        column: of text, or of numbers.
        names: of the images.

    Raises:
        UserError: no such table or column, one that is neither text nor numbers, one of these names twice, an image with two
            different labels or people, or a table of other images.
    """
    read = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path, column)
    for name in (IMAGE, IDENTITY, column):
        if read.column_names.count(name) > 1:
            raise UserError(f"two columns are called '{name}'", code="bad-name", where=str(path), fix="rename one")
    for needed in (IMAGE, column):
        if needed not in read.column_names:
            raise UserError(
                f"no column '{needed}'",
                code="no-such-column",
                where=str(path),
                fix=f"there are {', '.join(read.column_names[:10])}",
            )
    there = [name for name in (IMAGE, IDENTITY) if name in read.column_names]
    texts = {name: _texts(read[name], name, path) for name in there}
    labels = _labels(read[column], column, path)
    of_image: dict[str, dict[str, Value]] = {}
    twice = 0
    for row, image in enumerate(texts[IMAGE]):
        who = {IDENTITY: texts[IDENTITY][row]} if IDENTITY in texts else {}
        said: dict[str, Value] = {**who, column: labels[row]}
        if image is not None:
            twice += of_image.setdefault(image, said) != said
    if twice:
        raise UserError(
            f"{twice} rows say other things of an image than a row before",
            code="bad-row",
            where=str(path),
            fix="keep one row for each image",
        )
    if not set(of_image) & set(names):
        raise UserError(
            "no image of the table is there", code="no-images", where=str(path), fix="`image` is the path within --images"
        )
    return [of_image.get(name, {}) for name in names]


def _parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"no table ({type(error).__name__})", code="unreadable-file", where=str(path), fix=_FIX) from None


def _csv(path: Path, column: str) -> pa.Table:
    """001 and 2020-01-02 are names; whether the label is a number, is seen from all of its cells."""
    if not path.is_file():
        raise UserError("no such table", code="unreadable-file", where=str(path), fix=_FIX)
    read = read_delimited(path, (IMAGE, IDENTITY), gaps=True)
    if read.column_names.count(column) == 1 and not _is_number(read[column].type):
        read = read_delimited(path, (IMAGE, IDENTITY, column), gaps=True)
    return read


def _labels(values: pa.ChunkedArray, name: str, path: Path) -> list[Value]:
    if not _is_number(values.type):
        return list(_texts(values, name, path))
    return [None if value is None or not math.isfinite(value) else float(value) for value in values.to_pylist()]


def _texts(values: pa.ChunkedArray, name: str, path: Path) -> list[str | None]:
    try:
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_finite(values), values, None)
        found: list[str | None] = values.cast(pa.string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError):
        raise UserError(
            f"the column '{name}' is neither text nor numbers", code="bad-column", where=str(path), fix="name another"
        ) from None
    return found


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))
