"""CSV as people save it: commas, tabs or semicolons, UTF-8 or UTF-16, packed by gzip or not."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from pd.errors import UserError

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_DELIMITERS = (",", ";", "\t", "|")
_LARGEST = 2 << 30  # ours: bytes of an unpacked table; a file of this size in memory is the most that is reasonable
_LOOK = 1 << 16  # bytes in which encoding and delimiter show
_BLANK = re.compile(r"[ \t]+")
_SAID = re.compile(r'"?sep=([,;|\t])"?(?:\r\n?|\n)', re.IGNORECASE)


def read_delimited(
    path: Path,
    text: Collection[str] = (),
    *,
    header: bool = True,
    skip: int = 0,
    blank: bool = False,
    gaps: bool = False,
) -> pa.Table:
    """The whole table. Encoding and delimiter are found out; types are inferred, but for the columns named in `text`.

    Args:
        path: the file.
        text: columns that stay text whatever they hold, so that an identity '007' stays one.
        header: the first row names the columns; else they are called f0, f1, ...
        skip: lines before the table.
        blank: runs of blanks and tabs separate the columns.
        gaps: empty cells, NA and the like are null in columns of text, too.

    Raises:
        UserError: the file cannot be read, is no text of UTF-8 or UTF-16, is too large, or its rows differ in length.
    """
    data = _utf8(_bytes(path), path)
    if not data.strip():
        raise UserError("the table is empty", code="unreadable-file", where=str(path), fix="write it again")
    if skip:
        data = data.split(b"\n", skip)[-1]
    if blank:
        data = b"\n".join(_BLANK.sub(",", line.strip()).encode() for line in data.decode().splitlines() if line.strip())
    first = data[:_LOOK].decode(errors="replace")
    if header and (said := _SAID.match(first)):  # as Excel begins a file
        delimiter, data, first = said[1], data[len(said[0].encode()) :], first[len(said[0]) :]
    else:
        delimiter = "," if blank else _delimiter(first, text)
    names = _names(first, delimiter) if header else []
    strings = {name: pa.string() for name in names if name.strip() in text} if header else {name: pa.string() for name in text}
    try:
        table = pa.csv.read_csv(
            io.BytesIO(data),
            # one thread: only then do errors name the row
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=16 << 20, autogenerate_column_names=not header),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, delimiter=delimiter),
            convert_options=pa.csv.ConvertOptions(column_types=strings, strings_can_be_null=gaps),
        )
        if any(pa.types.is_binary(field.type) for field in table.schema):
            raise _no_text(path)
        return table.rename_columns([name.strip() for name in table.schema.names])
    except (pa.ArrowException, OSError) as error:
        # the message itself quotes the row, captions and all
        found = re.search(r"Row #(\d+)", str(error))
        where = f"{path}, line {found[1]}" if found else str(path)
        if "UTF8" in str(error):
            raise _no_text(path) from None
        raise UserError(
            "not a readable CSV", code="unreadable-file", where=where, fix="each line needs as many fields as the header"
        ) from None


def _no_text(path: Path) -> UserError:
    return UserError(
        "the CSV is not UTF-8 text", code="unreadable-file", where=str(path), fix="save it as UTF-8 (UTF-16 is read, too)"
    )


def _bytes(path: Path) -> bytes:
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            data: bytes = file.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error):  # gzip.BadGzipFile is an OSError
        raise UserError("not a readable CSV", code="unreadable-file", where=str(path), fix="write it again") from None
    if len(data) > _LARGEST:
        raise UserError(
            f"a table of more than {_LARGEST >> 30} GiB", code="unreadable-file", where=str(path), fix="write it as Parquet"
        )
    return data


def _utf8(data: bytes, path: Path) -> bytes:
    """The text as UTF-8 without a byte order mark. UTF-16 shows by its mark, or by zero bytes in every second place."""
    start = data[:4096]
    codec = None
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) and not start.startswith(b"\xff\xfe\0\0"):
        codec = "utf-16"
    elif len(start) >= 4 and start.count(0) * 3 > len(start):
        odd, even = start[1::2].count(0), start[::2].count(0)
        codec = "utf-16-le" if odd > even else "utf-16-be"
    try:
        text = data.decode(codec) if codec else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _no_text(path) from None
    return text.encode()


def _delimiter(text: str, wanted: Collection[str]) -> str:
    """What separates the columns: the one under which most wanted names are found, then the one that gives most columns."""

    def fits(delimiter: str) -> tuple[int, int]:
        names = _names(text, delimiter)
        return len({name.strip() for name in names} & set(wanted)), len(names)

    return max(_DELIMITERS, key=fits)


def _names(text: str, delimiter: str) -> list[str]:
    """The columns that a text begins with; none where they cannot be told. A line may end in a carriage return alone."""
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return []
