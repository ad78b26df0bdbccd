"""Decoding image files by workers of a cluster: rows of a table that hold what `decoded_rows` gives here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path

import pyarrow as pa

from pd.config import DataSettings, digest_of
from pd.dataset.decode import quiet
from pd.dataset.decoding import Good, decode_row, decoded_rows
from pd.dataset.mapping import HERE_BYTES, MakeRows, RowFunction
from pd.dataset.readers.source import BadRow, Row
from pd.errors import UserError

Decode = Callable[[Iterable[Row | BadRow], DataSettings], Iterator[Good | BadRow]]
"""Gives each row decoded and resized, in order, as `decoded_rows` does."""

Tables = Callable[[RowFunction, str], Iterable[pa.Table]]
"""Makes all rows of a function, by a name under which what is finished is kept."""

ROWS_AT_ONCE = 65_536  # listed before workers begin: about 100 MB in the process that lists them; ours
_BATCH = 16

_COLUMNS = pa.schema(
    [
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("id", pa.string()),
        ("png", pa.binary()),
        ("digest", pa.binary()),
        ("growth", pa.float64()),
        ("coloured", pa.bool_()),
        ("thumbnail", pa.binary()),
    ]
)
_OF_GOOD = _COLUMNS.names[2:]


@dataclass(frozen=True)
class DecodedFiles:
    """Image files to rows: a `RowFunction`. A file that cannot be used is a row that says why.

    Attributes:
        rows: of files; workers need neither captions nor labels, so that these are empty.
        settings: `size`, `mode`, `resize` and `max_pixels` say what becomes of them.
    """

    rows: tuple[Row, ...]
    settings: DataSettings

    @property
    def key(self) -> str:
        files = [[row.identity, row.key, str(row.data), state] for row, state in zip(self.rows, self._states, strict=True)]
        return digest_of([files, self.settings.model_dump(mode="json")])

    @property
    def total(self) -> int:
        return len(self.rows)

    @property
    def batch(self) -> int:
        return _BATCH

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the files: what they decode to is not known before."""
        return sum(size for size, _ in self._states)

    @cached_property
    def _states(self) -> list[tuple[int, int]]:
        return [_state(row) for row in self.rows]

    def open(self, device: str) -> MakeRows:
        return self._make

    def _make(self, rows: range) -> pa.Table:
        with quiet():
            found = [decode_row(self.rows[row], self.settings) for row in rows]
        return pa.Table.from_pylist([_to_record(item) for item in found], _COLUMNS)


def decoded_by(tables: Tables, name: str) -> Decode:
    """A `Decode` whose files are read by workers; images that lie in containers, and few files, are decoded here.

    Args:
        tables: of workers.
        name: begins the names of the work.
    """

    def decode(rows: Iterable[Row | BadRow], settings: DataSettings) -> Iterator[Good | BadRow]:
        part = 0
        for in_files, group in groupby(rows, key=lambda row: isinstance(row, BadRow) or isinstance(row.data, Path)):
            if not in_files:
                yield from decoded_rows(group, settings)
                continue
            while chunk := list(islice(group, ROWS_AT_ONCE)):
                function = DecodedFiles(tuple(_light(row) for row in chunk if isinstance(row, Row)), settings)
                if function.pixel_bytes <= HERE_BYTES:
                    yield from decoded_rows(chunk, settings)
                else:
                    yield from _joined(chunk, tables(function, f"{name}-{part:05d}"), settings)
                    part += 1

    return decode


def _joined(chunk: Sequence[Row | BadRow], tables: Iterable[pa.Table], settings: DataSettings) -> Iterator[Good | BadRow]:
    """Rows with what workers made of them.

    Raises:
        UserError: a file is here, and a worker did not see it.
    """
    made = (record for table in tables for record in table.to_pylist())
    for row in chunk:
        if isinstance(row, BadRow):
            yield row
            continue
        found = next(made)
        if found["reason"] is None:
            yield Good(row, **{name: found[name] for name in _OF_GOOD})
        elif found["reason"] == "missing" and isinstance(decode_row(row, settings), Good):
            raise UserError(
                "a machine of the cluster does not see the images, which this one does",
                code="no-such-folder",
                where="data.path",
                fix="keep them on storage that all nodes share, at one path, or at s3://",
            )
        else:
            yield BadRow(row.name, row.number, found["reason"], found["detail"])


def _to_record(item: Good | BadRow) -> dict[str, object]:
    if isinstance(item, BadRow):
        return {"reason": item.reason, "detail": item.detail}
    return {name: getattr(item, name) for name in _OF_GOOD}


def _light(row: Row) -> Row:
    return replace(row, caption=None, split=None, labels={})


def _state(row: Row) -> tuple[int, int]:
    """Bytes and time of a row's file; zeros where there is none."""
    try:
        info = Path(row.data).stat() if isinstance(row.data, Path) else None
    except (OSError, ValueError):
        return 0, 0
    return (info.st_size, info.st_mtime_ns) if info is not None else (0, 0)
