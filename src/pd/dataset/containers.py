"""Many images in one file: the rows of Parquet and the members of a tar shard, of this machine or of a bucket."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from pd.dataset.decode import SUFFIXES
from pd.dataset.readers.source import plain
from pd.errors import UserError
from pd.store.places import Place

_BUFFER = {False: 1 << 13, True: 1 << 20}  # bytes read at once for tar headers; a bucket takes as long for one as for many


def rows_in(place: Place, name: str) -> int:
    """How many rows a Parquet file has.

    Raises:
        UserError: it cannot be read as Parquet, or has no column `image`.
    """
    try:
        with place.open(name) as file:
            parquet = pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"not readable as Parquet ({type(error).__name__})", where=where(place, name)) from None
    if "image" not in parquet.schema_arrow.names:
        fix = "name it so: bytes, or a struct {bytes, path}"
        raise UserError("no column 'image'", where=where(place, name), fix=fix)
    return int(parquet.metadata.num_rows)


def read_rows(place: Place, name: str, rows: Sequence[int]) -> Iterator[bytes]:
    """The images of ascending row numbers; only the row groups that hold one are read. A missing image is empty."""
    with place.open(name) as file:
        parquet, first = pq.ParquetFile(file), 0
        for group in range(parquet.num_row_groups):
            after = first + parquet.metadata.row_group(group).num_rows
            here = [row - first for row in rows if first <= row < after]
            if here:
                for value in parquet.read_row_group(group, columns=["image"])["image"].take(here).to_pylist():
                    yield (value.get("bytes") if isinstance(value, dict) else value) or b""
            first = after


def members(place: Place, name: str) -> dict[str, tuple[int, int]]:
    """Where the images of a tar shard begin, and how long they are. Plain files only: no links, no holes.

    Raises:
        UserError: it cannot be read as tar, or holds a name twice.
    """
    found: dict[str, tuple[int, int]] = {}
    try:
        with (
            place.open(name) as file,
            io.BufferedReader(file, _BUFFER[place.remote]) as buffer,
            tarfile.open(fileobj=buffer, mode="r:") as tar,
        ):
            for member in tar:
                path = PurePosixPath(member.name)
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    continue
                if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                    continue
                if member.name in found:
                    what = f"holds '{plain(member.name)}' twice"
                    raise UserError(what, where=where(place, name), fix="give each image a name of its own")
                found[member.name] = (member.offset_data, max(member.size, 0))
    except (OSError, ValueError, tarfile.TarError) as error:
        what = f"not readable as tar ({type(error).__name__})"
        raise UserError(what, where=where(place, name), fix="unpack compressed ones") from None
    return found


def where(place: Place, name: str) -> str:
    """A file of a place, for messages; the place alone when it is that file."""
    return str(place) if place.is_file else plain(f"{place}/{name}")
