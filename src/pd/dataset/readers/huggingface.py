"""Data sets of Hugging Face: a folder of `save_to_disk`, a folder of Parquet, or a hub id; read in batches, never whole."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pd.config import ColumnSettings, DataSettings
from pd.dataset.readers.columns import overlaid
from pd.dataset.readers.manifest import source_of
from pd.dataset.readers.source import Source
from pd.dataset.readers.table import Table
from pd.errors import UserError
from pd.store.paths import walk

_ROWS = 64  # in memory at once
_SPLIT = "__split__"


def huggingface(settings: DataSettings) -> Source:
    """The rows of a data set; `ClassLabel` columns become labels by name; `data.columns.members` may name its splits.

    Args:
        settings: `path` is a folder, or a hub id, which needs `revision`, so that the same settings read the same pictures.

    Raises:
        UserError: `datasets` is not installed, no such data set, or as a manifest.
    """
    path = settings.path
    assert path is not None
    try:
        import datasets
    except ImportError:
        what = "Hugging Face data sets need a package that is not installed"
        raise UserError(
            what, code="missing-package", where="data.reader", fix='pip install "privacy-distillation[huggingface]"'
        ) from None
    datasets.disable_progress_bars()
    found = _opened(lambda: _open(datasets, path, settings.revision), str(path))
    parts: dict[str, Any] = dict(found) if isinstance(found, dict) else {"": found}
    if not parts:
        raise UserError("no data in this data set", code="no-images", where=str(path))
    table = _table(parts, str(path))
    own = ColumnSettings()
    if settings.columns.members and settings.columns.split is None and len(parts) > 1:
        own = ColumnSettings(split=_SPLIT)
    columns = overlaid(own, settings.columns)
    if columns.split != _SPLIT and columns.labels is None:
        table = _without(table, _SPLIT)
    files = tuple(path / name for name, link in walk(path) if not link) if path.is_dir() else ()
    return source_of(table, path if path.is_dir() else Path(), columns, settings.identity_from, files=files)


def _open(datasets: Any, path: Path, revision: str | None) -> Any:
    if path.is_dir():
        if any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
            return datasets.load_from_disk(str(path))
        files = sorted(str(file) for file in path.rglob("*.parquet"))
        if not files:
            fix = "name a folder of `save_to_disk`, or of Parquet, or a hub id such as owner/name"
            raise UserError("no data set in this folder", code="no-images", where=str(path), fix=fix)
        return datasets.load_dataset("parquet", data_files=files, streaming=True)
    if path.is_absolute() or path.exists() or len(path.parts) > 2:
        raise UserError(
            "no such folder", code="no-such-folder", where=str(path), fix="name a folder, or a hub id such as owner/name"
        )
    if revision is None:
        fix = "set data.revision to a commit or a tag, so that the same settings read the same pictures"
        raise UserError("a hub id without a revision", code="bad-options", where="data.revision", fix=fix)
    return datasets.load_dataset(str(path), revision=revision, streaming=True)


def _opened(open_it: Callable[[], Any], where: str) -> Any:
    try:
        return open_it()
    except UserError:
        raise
    except Exception as error:  # of the hub, of files and of Arrow
        what = f"this data set cannot be read ({type(error).__name__})"
        raise UserError(what, code="unreadable-file", where=where, fix="check the path, the network and the revision") from None


def _table(parts: dict[str, Any], where: str) -> Table:
    """All splits, one after the other, with a further column that names them."""
    first = next(iter(parts.values()))
    features = _opened(lambda: first.features or first._resolve_features().features, where)
    names = {name: tuple(kind.names) for name, kind in features.items() if type(kind).__name__ == "ClassLabel"}
    schema = features.arrow_schema
    for name in names:
        schema = schema.set(schema.get_field_index(name), pa.field(name, pa.string()))
    schema = schema.append(pa.field(_SPLIT, pa.string())).remove_metadata()

    def batches(columns: list[str]) -> Iterable[pa.RecordBatch]:
        asked = [name for name in columns if name != _SPLIT]
        for split, part in parts.items():
            for batch in _arrow_batches(part, asked, where):
                arrays = [_array(batch, name, split, names) for name in columns]
                yield pa.RecordBatch.from_arrays(arrays, names=columns)

    return Table(where, schema, sum(_length(part) for part in parts.values()), batches)


def _arrow_batches(part: Any, columns: list[str], where: str) -> Iterator[pa.Table]:
    stream = _opened(lambda: iter(part.select_columns(columns).with_format("arrow").iter(_ROWS)), where)
    while (batch := _opened(lambda: next(stream, None), where)) is not None:
        yield batch


def _array(batch: pa.Table, name: str, split: str, names: dict[str, tuple[str, ...]]) -> pa.Array:
    if name == _SPLIT:
        return pa.array([split] * batch.num_rows, pa.string())
    column = batch[name].combine_chunks()
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if name in names:
        words = names[name]
        known = [words[n] if n is not None and 0 <= n < len(words) else None for n in column.to_pylist()]
        return pa.array(known, pa.string())
    return column


def _length(part: Any) -> int:
    """How many rows there are; 1 where a stream does not say, which only the progress shows."""
    if hasattr(part, "__len__"):
        return len(part)
    splits = getattr(part.info, "splits", None) or {}
    said = splits.get(str(part.split)) if part.split is not None else None
    return int(getattr(said, "num_examples", 0) or 1)


def _without(table: Table, name: str) -> Table:
    return Table(table.where, table.schema.remove(table.schema.get_field_index(name)), table.total, table.batches)
