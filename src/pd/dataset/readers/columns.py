"""Which column of a table says what, by the settings, a preset, or the names that pd looks for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pd.config import ColumnSettings
from pd.dataset.parquet_rows import holds_bytes, holds_text
from pd.dataset.readers.table import Table
from pd.errors import UserError

IMAGE_NAMES = ("image", "path", "file_name")
TEXT_NAMES = (*IMAGE_NAMES, "identity", "caption", "split")
LONGEST = 10_000  # characters of a name, a caption or a label; a manifest with longer ones is broken, or means harm
_MOST_LABELS = 1000
# pd's own columns are called so; a label of that name is kept under another
_RENAMED = {"id": "source_id"} | {name: f"{name}_label" for name in ("image", "identity", "split", "caption")}


@dataclass(frozen=True)
class Columns:
    """Names of columns; None for what the table does not have.

    Attributes:
        image: the picture, or its path.
        path: a name beside encoded pictures.
        labels: label -> column.
        findings: the column with several findings in a cell.
        found: the findings that there are, each a label.
    """

    image: str
    path: str | None
    identity: str | None
    caption: str | None
    split: str | None
    labels: Mapping[str, str]
    findings: str | None = None
    found: tuple[str, ...] = ()

    def read(self) -> list[str]:
        """All columns that are read, each once."""
        own = (self.image, self.path, self.identity, self.caption, self.split, self.findings)
        return list(dict.fromkeys([*(name for name in own if name is not None), *self.labels.values()]))


def overlaid(preset: ColumnSettings, own: ColumnSettings) -> ColumnSettings:
    """A preset's columns with those that the settings name in their place."""
    return preset.model_copy(update={name: value for name, value in own if value != getattr(ColumnSettings(), name)})


def text_columns(settings: ColumnSettings) -> tuple[str, ...]:
    """Columns that stay text whatever they hold."""
    own = (settings.image, settings.identity, settings.caption, settings.split, settings.findings)
    return (*TEXT_NAMES, *(name for name in own if name is not None))


def find_columns(table: Table, settings: ColumnSettings, *, identity_elsewhere: bool) -> Columns:
    """Where things stand in a table.

    Args:
        table: with at least one row.
        settings: names that count before those pd looks for.
        identity_elsewhere: the path says who is shown, so that no column must.

    Raises:
        UserError: a column is missing, a duplicate or of a wrong type, or more than 1,000 are labels. The message names those
            that are there, and the setting that maps them.
    """
    names, where = table.schema.names, table.where
    doubled = next((name for name, count in Counter(names).items() if count > 1), None)
    if doubled is not None:
        raise UserError(f"two columns are called '{doubled[:60]}'", code="bad-name", where=where, fix="rename one")
    image = _pick(table, settings.image, IMAGE_NAMES, "image")
    identity = _pick(table, settings.identity, ("identity",), "identity", needed=not identity_elsewhere)
    caption = _pick(table, settings.caption, ("caption",), "caption", needed=False)
    split = _pick(table, settings.split, ("split",), "split", needed=False)
    findings = _pick(table, settings.findings, (), "findings", needed=False)
    assert image is not None
    kind = table.schema.field(image).type
    if not (holds_text(kind) or holds_bytes(kind)):
        fix = "it must be paths, bytes, or a struct {bytes, path}"
        raise UserError(f"column '{image}' is {_short(kind)}", code="bad-column", where=where, fix=fix)
    for name in (identity, caption, split):
        if name is not None and not (is_plain(kind := table.schema.field(name).type) or pa.types.is_null(kind)):
            raise UserError(f"column '{name}' is {_short(kind)}", code="bad-column", where=where, fix="write it as text")
    path = next(
        (n for n in ("path", "file_name") if n in names and n != image and holds_text(table.schema.field(n).type)), None
    )
    own = {image, "path" if image != "path" else None, identity, caption, split, findings, *TEXT_NAMES} - {None}
    labels = _labels(table, settings, {name for name in own if name is not None})
    found = _findings(table, findings, settings.separator) if findings is not None else ()
    doubled = next((name for name in found if name in labels), None)
    if doubled is not None:
        raise UserError(
            f"'{doubled[:60]}' is a finding and a column",
            code="bad-name",
            where=where,
            fix="name the labels in data.columns.labels",
        )
    return Columns(image, path, identity, caption, split, labels, findings, found)


def findings_in(cell: object, separator: str) -> list[str]:
    """The findings of a cell: 'a|b', a list, or a list written as text, such as "['a', 'b']"."""
    if cell is None:
        return []
    if isinstance(cell, list):
        words: Iterable[str] = (str(word) for word in cell)
    else:
        text = str(cell).strip()
        if text.startswith("[") and text.endswith("]"):
            text, separator = text[1:-1], ","
        words = (word.strip().strip("'\"") for word in text.split(separator))
    return list(dict.fromkeys(word.strip() for word in words if word.strip()))


def is_plain(kind: pa.DataType) -> bool:
    """Text, a number, true and false, or a day."""
    kind = plain_type(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return bool(number or holds_text(kind) or pa.types.is_date(kind))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values: categories are stored as what they stand for."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _pick(table: Table, named: str | None, looked_for: tuple[str, ...], what: str, *, needed: bool = True) -> str | None:
    names = table.schema.names
    theirs = [name for name in names if not name.startswith("__")]  # pd's own, of tar shards and data sets, are called so
    here = f"its columns are: {', '.join(theirs)[:200] or 'none'}; "
    if named is not None:
        if named not in names:
            fix = f"{here}set data.columns.{what} to one of them"
            raise UserError(f"no column '{named[:60]}'", code="no-such-column", where=table.where, fix=fix)
        return named
    found = next((name for name in looked_for if name in names), None)
    if found is None and needed:
        words = " or ".join(f"'{name}'" for name in (("path", "image") if what == "image" else looked_for))
        other = ", or set data.identity_from if the path says it" if what == "identity" else ""
        fix = f"{here}set data.columns.{what} to the one that it is{other}"
        raise UserError(f"no column {words}", code="no-such-column", where=table.where, fix=fix)
    return found


def _labels(table: Table, settings: ColumnSettings, own: set[str]) -> dict[str, str]:
    """Label name -> column. Columns without a name, pandas' index, times and nested values are none."""
    where = table.where
    if settings.labels is not None:
        for name in settings.labels:
            if name not in table.schema.names:
                fix = f"its columns are: {', '.join(table.schema.names)[:200]}; mend data.columns.labels"
                raise UserError(f"no column '{name[:60]}'", code="no-such-column", where=where, fix=fix)
            if not (is_plain(kind := table.schema.field(name).type) or pa.types.is_null(kind)):
                raise UserError(
                    f"column '{name[:60]}' is {_short(kind)}", code="bad-column", where=where, fix="a label is text or a number"
                )
        # a column that is blank throughout is of no type, and says nothing
        columns = [name for name in dict.fromkeys(settings.labels) if not pa.types.is_null(table.schema.field(name).type)]
    else:
        columns = [
            field.name
            for field in table.schema
            if field.name not in own and field.name and not field.name.startswith("__index_level_") and is_plain(field.type)
        ]
    if len(columns) > _MOST_LABELS or any(len(name) > LONGEST for name in columns):
        what = f"{len(columns)} columns besides pd's own"
        raise UserError(
            what,
            code="bad-name",
            where=where,
            fix=f"keep at most {_MOST_LABELS}, with short names, or name data.columns.labels",
        )
    labels = {_RENAMED.get(name, name): name for name in columns}
    if len(labels) < len(columns):
        raise UserError(
            "columns 'id' and 'source_id' cannot both be kept", code="bad-name", where=where, fix="rename 'source_id'"
        )
    return labels


def _findings(table: Table, column: str, separator: str) -> tuple[str, ...]:
    found: set[str] = set()
    for record in table.records([column]):
        found.update(findings_in(record[column], separator))
        if len(found) > _MOST_LABELS:
            what = f"more than {_MOST_LABELS} different findings in column '{column[:60]}'"
            raise UserError(what, code="bad-column", where=table.where, fix="check data.columns.separator")
    return tuple(sorted(found - set(_RENAMED)))


def _short(kind: pa.DataType) -> str:
    return str(kind)[:60]
