"""A table of images, in whatever it is written: CSV, JSON lines or Parquet."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pd.dataset.parquet_rows import DAMAGE, count_rows, row_batches
from pd.dataset.readers import delimited, json_lines
from pd.errors import UserError

_ROWS = 1024  # of a table in memory as Python objects at once
SUFFIXES = (*delimited.SUFFIXES, *json_lines.SUFFIXES, ".parquet", ".pq")


@dataclass(frozen=True)
class Table:
    """Rows that can be read again and again.

    Attributes:
        where: for messages.
        schema: names and types of the columns.
        total: number of rows.
        batches: reads the columns that are named, some rows at a time.
    """

    where: str
    schema: pa.Schema
    total: int
    batches: Callable[[list[str]], Iterable[pa.RecordBatch]]

    def records(self, columns: list[str]) -> Iterator[Mapping[str, Any]]:
        """The rows as objects.

        Raises:
            UserError: damage of a file that shows only while reading.
        """
        stream = iter(self.batches(columns))
        while True:
            try:
                records = next(stream).to_pylist()
            except StopIteration:
                return
            except DAMAGE:
                raise UserError(
                    "not a readable Parquet file", code="unreadable-file", where=self.where, fix="write it again"
                ) from None
            yield from records


def open_table(path: Path, text: Collection[str] = ()) -> Table:
    """The table in a file.

    Args:
        path: by its suffix CSV, JSON lines or Parquet.
        text: columns of a CSV that stay text whatever they hold.

    Raises:
        UserError: no such file, another suffix, or not readable.
    """
    if path.is_dir():
        raise UserError(
            "this is a folder, not a manifest",
            code="no-such-file",
            where=str(path),
            fix="name the file, or set `reader: folder`",
        )
    if not path.is_file():
        raise UserError("no such manifest", code="no-such-file", where=str(path), fix="check data.path")
    name = path.name.lower()
    if name.endswith(delimited.SUFFIXES):
        return table_in_memory(delimited.read_delimited(path, text), str(path))
    if name.endswith(json_lines.SUFFIXES):
        return table_in_memory(json_lines.read_json_lines(path), str(path))
    if not name.endswith((".parquet", ".pq")):
        fix = f"write it as one of {' '.join(SUFFIXES)}"
        raise UserError(f"a manifest cannot be '{path.suffix}'", code="unreadable-file", where=str(path), fix=fix)
    schema, total = _look_at_parquet(path)

    def batches(columns: list[str]) -> Iterable[pa.RecordBatch]:
        with pq.ParquetFile(path) as file:
            yield from row_batches(file, columns)

    return Table(str(path), schema, total, batches)


def table_in_memory(table: pa.Table, where: str) -> Table:
    """A table that is read already."""

    def batches(columns: list[str]) -> Iterable[pa.RecordBatch]:
        return table.select(columns).to_batches(_ROWS)  # type: ignore[no-any-return]

    return Table(where, table.schema, table.num_rows, batches)


def _look_at_parquet(path: Path) -> tuple[pa.Schema, int]:
    """The columns and the number of rows; UserError when it cannot be read."""
    try:
        with pq.ParquetFile(path) as file:
            schema, total = file.schema_arrow, count_rows(file, path.stat().st_size, str(path))
            str(schema.names)  # names that are not UTF-8 are found only now
    except DAMAGE:
        raise UserError("not a readable Parquet file", code="unreadable-file", where=str(path), fix="write it again") from None
    return schema, total
