"""Parquet that nobody has checked: which columns hold images, and rows a few at a time, however the file was packed."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pd.errors import UserError

# What reading a Parquet file that lies about itself may raise: besides Arrow's own, text that is not UTF-8 and numbers that
# do not fit (both ValueError or OverflowError).
DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError)

_ROWS = 64  # at once, at most
_BUDGET = 256 << 20  # bytes that the rows of a batch may have
_ROWS_PER_BYTE = 4  # more rows than this can only be copies of each other


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds encoded images: bytes, or the Hugging Face struct {bytes, path}."""
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        doubled = len(fields) < kind.num_fields
        name = fields.pop("path", pa.null())
        (kind,) = fields.values() if len(fields) == 1 and "bytes" in fields else (pa.null(),)
        if doubled or not (holds_text(name) or pa.types.is_null(name)):
            return False
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def holds_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text, or categories that stand for text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def count_rows(file: pq.ParquetFile, size: int, where: str) -> int:
    """How many rows a file has.

    Args:
        file: opened.
        size: its bytes.
        where: for messages.

    Raises:
        UserError: it claims rows that it cannot hold, and that would fill the memory of who believes it.
    """
    groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    rows = int(file.metadata.num_rows)
    if rows != sum(groups) or min(groups, default=0) < 0:
        raise UserError("the numbers of rows do not agree", code="unreadable-file", where=where, fix="write it again")
    if rows > _ROWS_PER_BYTE * size:
        raise UserError(
            f"claims {rows} rows, in {size} bytes", code="unreadable-file", where=where, fix="write it again, each row once"
        )
    return rows


def row_batches(file: pq.ParquetFile, columns: Sequence[str], groups: Iterable[int] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows in order, so few at a time that a batch stays within some hundred MB.

    The same image a million times takes no room in a file, and a dictionary keeps it even from the file's own count of
    uncompressed bytes: any row may be as large as its whole column. One row at a time costs 50 microseconds a row.

    Args:
        file: opened.
        columns: to read.
        groups: row groups; None: all.
    """
    for group in range(file.num_row_groups) if groups is None else groups:
        found = file.metadata.row_group(group)
        sizes = [found.column(at).total_uncompressed_size for at in range(found.num_columns)]
        rows = min(max(_BUDGET // max(sum(sizes), 1), 1), _ROWS)
        yield from file.iter_batches(rows, row_groups=[group], columns=list(columns))
