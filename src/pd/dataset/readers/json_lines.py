"""JSON lines as a table: an object a line, each key a column."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from pd.errors import UserError

SUFFIXES = (".jsonl", ".ndjson")
_LONGEST_LINE = 1 << 20  # characters
_MOST_KEYS = 2000


def read_json_lines(path: Path) -> pa.Table:
    """The whole table; what is nested is left out, but for lists of texts.

    Raises:
        UserError: a line is no JSON object, is too long, or the file is not UTF-8.
    """
    return table_of(_objects(path), str(path))


def table_of(records: Iterable[dict[str, object]], where: str) -> pa.Table:
    """A table of objects; a key that one of them lacks is empty there.

    Raises:
        UserError: more than 2,000 different keys.
    """
    columns: dict[str, list[object]] = {}
    rows = 0
    for record in records:
        for key, value in record.items():
            if key not in columns:
                if len(columns) == _MOST_KEYS:
                    raise UserError(
                        f"more than {_MOST_KEYS} different keys", code="unreadable-file", where=where, fix="leave some out"
                    )
                columns[key] = [None] * rows
            columns[key].append(value)
        rows += 1
        for values in columns.values():
            if len(values) < rows:
                values.append(None)
    arrays = {key: _array(values) for key, values in columns.items()}
    kept = {key: array for key, array in arrays.items() if array is not None}
    if rows and not kept:
        kept = {"": pa.nulls(rows)}
    return pa.table(kept)


def _objects(path: Path) -> Iterable[dict[str, object]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                where = f"{path}, line {number}"
                if len(line) > _LONGEST_LINE:
                    raise UserError(
                        "a line of more than a million characters",
                        code="unreadable-file",
                        where=where,
                        fix="keep images in files",
                    )
                if not line.strip():
                    continue
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError):
                    found = None
                if not isinstance(found, dict):
                    raise UserError("not a JSON object", code="unreadable-file", where=where, fix="write one object a line")
                yield found
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", code="unreadable-file", where=str(path), fix="save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", code="unreadable-file", where=str(path)) from None


def _array(values: Sequence[object]) -> pa.Array | None:
    """A column of one type: true and false, numbers, texts, or lists of texts; None for what is none of these."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {list}:
        if all(isinstance(word, str) for value in values if isinstance(value, list) for word in value):
            return _text_lists(values)
        return None
    if kinds & {dict, list}:
        return None
    try:
        if kinds == {bool}:
            return pa.array(values, pa.bool_())
        if kinds == {int}:
            return pa.array(values, pa.int64())
        if kinds and kinds <= {int, float}:
            return pa.array([None if value is None else float(str(value)) for value in values], pa.float64())
    except (pa.ArrowException, OverflowError, ValueError):
        pass  # whole numbers beyond 64 bits are names
    try:
        return pa.array([value if value is None or isinstance(value, str) else str(value) for value in values], pa.string())
    except (pa.ArrowException, UnicodeEncodeError, ValueError):  # half a character, or a number of too many digits
        return None


def _text_lists(values: Sequence[object]) -> pa.Array | None:
    try:
        return pa.array(values, pa.list_(pa.string()))
    except (pa.ArrowException, UnicodeEncodeError):
        return None
