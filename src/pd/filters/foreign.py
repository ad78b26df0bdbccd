"""Images that somebody else's generator made: image folders and Parquet, named one by one, read a few at a time."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pd.config import digest_of
from pd.dataset.decode import SUFFIXES
from pd.dataset.readers.folder import image_names
from pd.dataset.readers.paths import inside
from pd.errors import UserError


def list_images(source: Path) -> list[str]:
    """Names of the images of a source, in order.

    Args:
        source: a folder of images or of Parquet files, nested or not, or one Parquet file.

    Returns:
        Paths relative to the folder; `FILE#ROW` for images in Parquet.

    Raises:
        UserError: no such source, no image in it, or Parquet without a column `image`.
    """
    if source.is_file():
        if source.suffix != ".parquet":
            raise UserError("neither a folder nor a Parquet file", where=str(source), fix="name a folder of images")
        return _rows(source, source.name)
    names = list(image_names(source, {}))
    tables = sorted(path for path in source.rglob("*.parquet") if not path.name.startswith("."))
    if names and tables:
        raise UserError(
            f"{len(names)} image files and {len(tables)} Parquet files",
            where=str(source),
            fix="name a folder of one kind",
        )
    for table in tables:
        names += _rows(table, table.relative_to(source).as_posix())
    if not names:
        raise UserError("no image here", where=str(source), fix=f"read are Parquet and {' '.join(SUFFIXES)}")
    return names


def fetch(source: Path, names: Sequence[str]) -> Iterator[bytes | Path | None]:
    """The encoded images of names from `list_images`, as bytes or files; None where a link leads out of the source."""
    folder = source.parent if source.is_file() else source
    root = folder.resolve()
    for file, group in groupby(names, key=_file_of):
        if file.endswith(".parquet"):
            yield from _fetch_rows(folder / file, [int(name.rpartition("#")[2]) for name in group])
        else:
            yield from (inside(root, name) for name in group)


def fingerprint(source: Path, names: Sequence[str]) -> str:
    """16 hex digits that change when images come, go or change (by name, size and time, as `make` does)."""
    folder = source.parent if source.is_file() else source
    files = dict.fromkeys(_file_of(name) for name in names)
    stats = [(name, (folder / name).lstat()) for name in files]
    return digest_of([len(names), [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]])


def _file_of(name: str) -> str:
    """The file that a name means; image files may have a # in theirs."""
    file = name.rpartition("#")[0]
    return file if file.endswith(".parquet") else name


def _rows(file: Path, name: str) -> list[str]:
    try:
        parquet = pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"not readable as Parquet ({type(error).__name__})", where=str(file)) from None
    if "image" not in parquet.schema_arrow.names:
        raise UserError("no column 'image'", where=str(file), fix="name it so: bytes, or a struct {bytes, path}")
    return [f"{name}#{row}" for row in range(parquet.metadata.num_rows)]


def _fetch_rows(file: Path, rows: Sequence[int]) -> Iterator[bytes]:
    """The images of ascending row numbers; only the row groups that hold one are read. A missing image is empty."""
    parquet, wanted, first = pq.ParquetFile(file), list(rows), 0
    for group in range(parquet.num_row_groups):
        after = first + parquet.metadata.row_group(group).num_rows
        here = [row - first for row in wanted if first <= row < after]
        if here:
            for value in parquet.read_row_group(group, columns=["image"])["image"].take(here).to_pylist():
                yield (value.get("bytes") if isinstance(value, dict) else value) or b""
        first = after
