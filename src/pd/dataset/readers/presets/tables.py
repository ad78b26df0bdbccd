"""What the presets share: a table of a folder by its name, columns that are put together, keys that two tables share."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pd.dataset.readers.delimited import read_delimited
from pd.errors import UserError


def find(folder: Path, patterns: Sequence[str], what: str) -> Path:
    """The file of a layout; of several the first by pattern and name.

    Raises:
        UserError: there is no such folder or file.
    """
    if not folder.is_dir():
        what = "this is a file, not a folder" if folder.exists() else "no such folder"
        raise UserError(what, code="no-such-folder", where=str(folder), fix="name the folder that the set was unpacked into")
    for pattern in patterns:
        for found in sorted(folder.glob(pattern)):
            return found
    fix = "name the folder that it was unpacked into, as its documentation shows it (docs/formats.md)"
    raise UserError(f"no {what} here: {' or '.join(patterns)}", code="no-such-file", where=str(folder), fix=fix)


def read(file: Path, text: Sequence[str], needed: Sequence[str]) -> pa.Table:
    """A table with these columns; those in `text` stay text.

    Raises:
        UserError: one is missing, or as `read_delimited`.
    """
    table = read_delimited(file, text)
    missing = next((name for name in needed if name not in table.column_names), None)
    if missing is not None:
        fix = f"its columns are: {', '.join(table.column_names)[:200]}; this is another version of the set"
        raise UserError(f"no column '{missing}'", code="no-such-column", where=str(file), fix=fix)
    return table


def joined(*parts: pa.ChunkedArray | str) -> pa.ChunkedArray:
    """Texts put together row by row; empty where one is missing."""
    return pc.binary_join_element_wise(*(pa.scalar(part) if isinstance(part, str) else part for part in parts), "")


def there(table: pa.Table, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that the table has as columns: versions of a set differ in what they add."""
    return tuple(name for name in names if name in table.column_names)
