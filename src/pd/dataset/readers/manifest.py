"""A CSV or Parquet manifest: `path` or `image`, `identity`, maybe `caption` and `split`; other columns are labels."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pd.dataset.parquet_rows import DAMAGE, count_rows, holds_bytes, holds_text, row_batches
from pd.dataset.readers.source import BadRow, Row, Source, utf8
from pd.errors import UserError
from pd.store.paths import inside

_OWN = ("path", "image", "identity", "caption", "split")
_ROWS = 1024  # of a CSV as Python objects at once
_MOST_LABELS = 1000
_LONGEST = 10_000  # characters of a name, a caption or a label; a manifest with longer ones is broken, or means harm


def manifest(path: Path) -> Source:
    """Rows of a manifest. Paths are relative to its folder and must not leave it.

    `image` holds encoded bytes, a Hugging Face struct {bytes, path}, or a path. A further column `id` is kept as
    `source_id`, since pd has ids of its own. Further columns of times, lists or other such things are not read.

    Raises:
        UserError: no such file, not CSV or Parquet, unreadable, no rows, a column missing, doubled or of a wrong type, or more
            than 1,000 further columns.
    """
    if path.is_dir():
        raise UserError("this is a folder, not a manifest", where=str(path), fix="name the file, or set `reader: folder`")
    if not path.is_file():
        raise UserError("no such manifest", where=str(path), fix="check data.path")
    if path.suffix.lower() == ".csv":
        table = _read_csv(path)
        schema, total = table.schema, table.num_rows

        def batches(columns: list[str]) -> Iterable[pa.RecordBatch]:
            return table.select(columns).to_batches(_ROWS)  # type: ignore[no-any-return]

    elif path.suffix.lower() in (".parquet", ".pq"):
        schema, total = _look_at_parquet(path)

        def batches(columns: list[str]) -> Iterable[pa.RecordBatch]:
            with pq.ParquetFile(path) as file:
                yield from row_batches(file, columns)

    else:
        raise UserError(f"a manifest cannot be '{path.suffix}'", where=str(path), fix="write it as .csv or .parquet")
    image = _check(schema, path)
    if total == 0:
        raise UserError("the manifest has no rows", where=str(path))
    labels = _labels(schema, path)
    columns = [name for name in _OWN if name in schema.names and (name != "path" or holds_text(schema.field(name).type))]
    root = path.parent.resolve()

    def rows() -> Iterator[Row | BadRow]:
        records = _records(batches([*columns, *labels.values()]), path)
        for number, record in enumerate(records, start=1):
            yield _row(record, number, image, labels, root)

    types = {name: _plain_type(schema.field(column).type) for name, column in labels.items()}
    return Source(
        str(path),
        total,
        types,
        rows,
        has_split="split" in schema.names,
        embedded=not holds_text(schema.field(image).type),
        files=(path,),
    )


def _row(record: Mapping[str, Any], number: int, image: str, labels: Mapping[str, str], root: Path) -> Row | BadRow:
    value = record[image]
    if isinstance(value, Mapping):
        data, name = value.get("bytes"), value.get("path")
    elif isinstance(value, bytes):
        data, name = value, record.get("path")
    else:
        data, name = None, value
    label = str(name) if name else f"row {number}"
    if any(len(value) > _LONGEST or not utf8(value) for value in record.values() if isinstance(value, str)):
        return BadRow(label, number, "unsupported", f"a text of more than {_LONGEST} characters, or not UTF-8")
    identity = _text(record["identity"])
    if not identity:
        return BadRow(label, number, "no identity")
    key = None  # the name beside bytes need not be unique
    if data is None:
        if not name:
            return BadRow(label, number, "missing", "no path")
        data = inside(root, str(name))
        if data is None:
            return BadRow(label, number, "outside the folder")
        key = data.relative_to(root).as_posix()
    split = _text(record["split"]) if "split" in record else None
    values = {target: record[column] for target, column in labels.items()}
    return Row(label, number, key, data, identity, _text(record.get("caption")) or None, split, values)


def _text(value: object) -> str:
    """A name as text without blanks around it; '' for nothing. 7.0 is 7: integers beside gaps are stored as floats."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _check(schema: pa.Schema, path: Path) -> str:
    """The column that holds images; UserError for a column that is missing, doubled, or of a type that cannot be."""
    names = schema.names
    doubled = next((name for name, count in Counter(names).items() if count > 1), None)
    if doubled is not None:
        raise UserError(f"two columns are called '{doubled[:60]}'", where=str(path), fix="rename one")
    image = "image" if "image" in names else "path"
    missing = [name for name in (image, "identity") if name not in names]
    if missing:
        column = "'path' or 'image'" if missing[0] == image else f"'{missing[0]}'"
        fix = f"its columns are: {', '.join(names)[:200]}"
        if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
            fix = "its columns are not separated by commas"
        raise UserError(f"no column {column}", where=str(path), fix=fix)
    kind = schema.field(image).type
    if not (holds_text(kind) or holds_bytes(kind)):
        fix = "it must be paths, bytes, or a struct {bytes, path}"
        raise UserError(f"column '{image}' is {_short(kind)}", where=str(path), fix=fix)
    for name in ("identity", "caption", "split"):
        if name in names and not (_is_plain(kind := schema.field(name).type) or pa.types.is_null(kind)):
            raise UserError(f"column '{name}' is {_short(kind)}", where=str(path), fix="write it as text")
    return image


def _short(kind: pa.DataType) -> str:
    return str(kind)[:60]


def _labels(schema: pa.Schema, path: Path) -> dict[str, str]:
    """Label name -> column. Columns without a name, pandas' index, times and nested values are none."""
    columns = [
        field.name
        for field in schema
        if field.name not in _OWN and field.name and not field.name.startswith("__index_level_") and _is_plain(field.type)
    ]
    if len(columns) > _MOST_LABELS or any(len(name) > _LONGEST for name in columns):
        what = f"{len(columns)} columns besides pd's own"
        raise UserError(what, where=str(path), fix=f"keep at most {_MOST_LABELS}, with short names")
    labels = {"source_id" if name == "id" else name: name for name in columns}
    if len(labels) < len(columns):
        raise UserError("columns 'id' and 'source_id' cannot both be kept", where=str(path), fix="rename 'source_id'")
    return labels


def _is_plain(kind: pa.DataType) -> bool:
    """Text, a number, true and false, or a day."""
    kind = _plain_type(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return bool(number or holds_text(kind) or pa.types.is_date(kind))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values: categories are stored as what they stand for."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _read_csv(path: Path) -> pa.Table:
    """The whole table; only the labels' types are inferred, so that an identity '007' stays one."""
    try:
        table = pa.csv.read_csv(
            path,
            # one thread: only then do errors name the row
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=16 << 20),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(_OWN, pa.string())),
        )
        str(table.schema.names)  # names that are not UTF-8 are found only now
        text = "UTF8" if any(pa.types.is_binary(field.type) for field in table.schema) else ""
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # the message itself quotes the row, captions and all
        found = re.search(r"Row #(\d+)", str(error))
        text = "UTF8" if isinstance(error, UnicodeDecodeError) or "UTF8" in str(error) else "unreadable"
        where = f"{path}, line {found[1]}" if found else str(path)
        if text != "UTF8":
            raise UserError("not a readable CSV", where=where, fix="each line needs as many fields as the header") from None
    if text == "UTF8":
        raise UserError("the CSV is not UTF-8 text", where=str(path), fix="save it as UTF-8")
    return table


def _look_at_parquet(path: Path) -> tuple[pa.Schema, int]:
    """The columns and the number of rows; UserError when it cannot be read."""
    try:
        with pq.ParquetFile(path) as file:
            schema, total = file.schema_arrow, count_rows(file, path.stat().st_size, str(path))
            str(schema.names)  # names that are not UTF-8 are found only now
    except DAMAGE:
        raise UserError("not a readable Parquet file", where=str(path), fix="write it again") from None
    return schema, total


def _records(batches: Iterable[pa.RecordBatch], path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of the batches; damage that shows only while reading is the same clear error."""
    stream = iter(batches)
    while True:
        try:
            records = next(stream).to_pylist()
        except StopIteration:
            return
        except DAMAGE:
            raise UserError("not a readable Parquet file", where=str(path), fix="write it again") from None
        yield from records
