"""A manifest: a table of pictures or their paths, of who is in them, and of what else is known of them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pd.config import ColumnSettings
from pd.dataset.parquet_rows import holds_text
from pd.dataset.readers.columns import LONGEST, Columns, find_columns, findings_in, plain_type, text_columns
from pd.dataset.readers.identity import EACH, IF_SAID, identity_of
from pd.dataset.readers.source import BadRow, Row, Source, utf8
from pd.dataset.readers.table import Table, open_table
from pd.errors import UserError
from pd.store.paths import inside, leads_away

Images = Callable[[Mapping[str, Any]], bytes | None]


def manifest(path: Path, columns: ColumnSettings | None = None, identity_from: int | str | None = None) -> Source:
    """Rows of a manifest in CSV, JSON lines or Parquet. Paths are relative to its folder and must not leave it.

    The picture's column holds encoded bytes, a Hugging Face struct {bytes, path}, or a path. A further column `id` is kept as
    `source_id`, since pd has ids of its own. Further columns of times, lists or other such things are not read.

    Args:
        path: the file.
        columns: which column says what, where they are not called as pd expects.
        identity_from: a pattern or a depth, where the path says who is shown.

    Raises:
        UserError: no such file, unreadable, no rows, a column missing, duplicate or of a wrong type, or more than 1,000 further
            columns.
    """
    columns = columns or ColumnSettings()
    table = open_table(path, text_columns(columns))
    return source_of(table, path.parent, columns, identity_from, files=(path,))


def source_of(
    table: Table,
    folder: Path,
    columns: ColumnSettings,
    identity_from: int | str | None = None,
    *,
    files: tuple[Path, ...],
    read: Images | None = None,
) -> Source:
    """The rows of a table.

    Args:
        table: what is known of the pictures.
        folder: paths are relative to it and must not leave it.
        columns: which column says what.
        identity_from: a pattern or a depth, where the path says who is shown.
        files: that the table was read from.
        read: gives a record's picture, where it lies neither in the table nor in a file of its own.

    Raises:
        UserError: no rows, or as `find_columns`.
    """
    found = find_columns(table, columns, identity_elsewhere=identity_from is not None)
    if table.total == 0:
        raise UserError("the manifest has no rows", code="no-images", where=table.where)
    reader = _Rows(found, columns, identity_from, folder.resolve(), read)
    asked = list(table.schema.names) if read is not None else found.read()

    def rows() -> Iterator[Row | BadRow]:
        for number, record in enumerate(table.records(asked), start=1):
            yield reader.row(record, number)

    types = {name: plain_type(table.schema.field(column).type) for name, column in found.labels.items()}
    return Source(
        table.where,
        table.total,
        types | dict.fromkeys(found.found, pa.int64()),
        rows,
        has_split=found.split is not None,
        embedded=read is not None or not holds_text(table.schema.field(found.image).type),
        files=files,
    )


class _Rows:
    """Records to rows.

    Args:
        columns: where things stand.
        settings: how split and findings are written.
        identity_from: a pattern or a depth.
        root: the folder of the paths, resolved.
        read: gives a record's picture; None: the record does.
    """

    def __init__(
        self, columns: Columns, settings: ColumnSettings, identity_from: int | str | None, root: Path, read: Images | None
    ) -> None:
        self._columns, self._settings, self._identity_from = columns, settings, identity_from
        self._root, self._read = root, read

    def row(self, record: Mapping[str, Any], number: int) -> Row | BadRow:
        columns = self._columns
        data, name = self._picture(record)
        label = str(name) if name else f"row {number}"
        if any(len(value) > LONGEST or not utf8(value) for value in record.values() if isinstance(value, str)):
            return BadRow(label, number, "unsupported", f"a text of more than {LONGEST} characters, or not UTF-8")
        key = None  # the name beside bytes need not be unique
        file: bytes | Path | None = data
        if file is None:
            if not name:
                return BadRow(label, number, "missing", "no path" if self._read is None else "no image")
            if self._read is not None:
                return BadRow(label, number, "missing")
            file = self._file(str(name))
            if file is None:
                why = "paths are relative to the manifest's folder" if leads_away(str(name)) else "a link that leads out"
                return BadRow(label, number, "outside the folder", why)
            key = file.relative_to(self._root).as_posix()
        elif self._read is not None:
            key = str(name)
        if self._identity_from == EACH:
            identity = label
        elif self._identity_from is not None and self._identity_from != IF_SAID:
            identity = identity_of(key or str(name or ""), self._identity_from)
        else:
            identity = text_of(record[columns.identity]) if columns.identity is not None else ""
        if not identity and self._identity_from != IF_SAID:
            return BadRow(label, number, "no identity")
        caption = text_of(record[columns.caption]) if columns.caption is not None else ""
        return Row(label, number, key, file, identity, caption or None, self._split(record), self._labels(record))

    def _picture(self, record: Mapping[str, Any]) -> tuple[bytes | None, object]:
        value = record[self._columns.image]
        if self._read is not None:
            return self._read(record), value
        if isinstance(value, Mapping):
            return value.get("bytes"), value.get("path")
        if isinstance(value, bytes):
            return value, record.get(self._columns.path) if self._columns.path is not None else None
        return None, value

    def _file(self, name: str) -> Path | None:
        """The file that a name means; one written with backslashes, as Windows does, unless a file is called so."""
        file = inside(self._root, name)
        if "\\" in name and (file is None or not file.exists()):
            return inside(self._root, name.replace("\\", "/"))
        return file

    def _split(self, record: Mapping[str, Any]) -> str | None:
        if self._columns.split is None:
            return None
        word = text_of(record[self._columns.split])
        if not self._settings.members:
            return word
        return ("member" if word in self._settings.members else "holdout") if word else ""

    def _labels(self, record: Mapping[str, Any]) -> dict[str, object]:
        values: dict[str, object] = {target: record[column] for target, column in self._columns.labels.items()}
        if self._columns.findings is not None:
            there = findings_in(record[self._columns.findings], self._settings.separator)
            # nothing written is nothing known
            values |= {name: int(name in there) if there else None for name in self._columns.found}
        return values


def text_of(value: object) -> str:
    """A name as text without blanks around it; '' for nothing. 7.0 is 7: integers beside gaps are stored as floats."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
