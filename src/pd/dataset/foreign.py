"""Images that somebody else's generator made, named one by one and read a few at a time.

They lie in image folders, in Parquet, or in tar shards as WebDataset writes them.
"""

import tarfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from pd.config import DataSettings, digest_of
from pd.dataset.decode import SUFFIXES, BadImage, decode, largest_file, load
from pd.dataset.images import Pixels
from pd.dataset.readers.folder import image_names
from pd.dataset.readers.paths import inside
from pd.dataset.readers.source import plain
from pd.errors import UserError

_CONTAINERS = (".parquet", ".tar")


def list_images(source: Path) -> list[str]:
    """Names of the images of a source, in order.

    Args:
        source: a folder of images, or of Parquet files and tar shards, nested or not; or one such file.

    Returns:
        Paths relative to the folder; `FILE#ROW` for images in Parquet, `FILE#PATH` for those in tar shards.

    Raises:
        UserError: no such source, no image in it, a file that cannot be read, Parquet without a column `image`, or a tar
            shard that holds a name twice.
    """
    if source.is_file():
        if source.suffix not in _CONTAINERS:
            raise UserError("neither a folder, nor Parquet, nor tar", where=str(source), fix="name a folder of images")
        names = _contents(source, source.name)
    else:
        names = list(image_names(source, {}))
        files = sorted(path for path in source.rglob("*") if path.suffix in _CONTAINERS and not path.name.startswith("."))
        if names and files:
            raise UserError(
                f"{len(names)} image files and {len(files)} of Parquet or tar",
                where=str(source),
                fix="name a folder of one kind",
            )
        for file in files:
            names += _contents(file, file.relative_to(source).as_posix())
    if not names:
        raise UserError("no image here", where=str(source), fix=f"read are Parquet, tar and {' '.join(SUFFIXES)}")
    return names


def read_images(source: Path, names: Sequence[str], settings: DataSettings) -> Iterator[tuple[str, Pixels | BadImage]]:
    """Each name with its image, (size, size, C) uint8, or with why it cannot be used.

    Args:
        source: as for `list_images`.
        names: some of what that listed.
        settings: size, mode, resize, max_pixels and on_bad_image count.

    Raises:
        UserError: an image cannot be used and `on_bad_image` is `stop`.
    """
    for name, data in zip(names, _fetch(source, names, largest_file(settings)), strict=True):
        try:
            if data is None:
                raise BadImage("outside the folder", "a link that leads out")
            yield name, decode(load(data, settings), settings).pixels
        except BadImage as bad:
            if settings.on_bad_image == "stop":
                fix = "mend or remove it, or set data.on_bad_image: skip"
                raise UserError(str(bad), where=plain(f"{source}/{name}"), fix=fix) from None
            yield name, bad


def fingerprint(source: Path, names: Sequence[str]) -> str:
    """16 hex digits that change when images come, go or change (by name, size and time, as `make` does)."""
    folder = source.parent if source.is_file() else source
    files = dict.fromkeys(_split(name)[0] for name in names)
    stats = [(name, (folder / name).lstat()) for name in files]
    return digest_of([len(names), [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]])


def _split(name: str) -> tuple[str, str]:
    """The file that a name means, and the place in it; image files may have a # in theirs."""
    for suffix in _CONTAINERS:
        file, found, place = name.partition(f"{suffix}#")
        if found:
            return file + suffix, place
    return name, ""


def _contents(file: Path, name: str) -> list[str]:
    places = list(_members(file, file.stat().st_mtime_ns)) if file.suffix == ".tar" else map(str, range(_count_rows(file)))
    return [f"{name}#{place}" for place in places]


def _fetch(source: Path, names: Sequence[str], most: int) -> Iterator[bytes | Path | None]:
    """The encoded images, as bytes or files; None where a link leads out of the source."""
    folder = source.parent if source.is_file() else source
    root = folder.resolve()
    for file, group in groupby(names, key=lambda name: _split(name)[0]):
        places = [_split(name)[1] for name in group]
        if file.endswith(".parquet"):
            yield from _fetch_rows(folder / file, [int(place) for place in places])
        elif file.endswith(".tar"):
            yield from _fetch_members(folder / file, places, most)
        else:
            yield inside(root, file)


def _count_rows(file: Path) -> int:
    try:
        parquet = pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"not readable as Parquet ({type(error).__name__})", where=str(file)) from None
    if "image" not in parquet.schema_arrow.names:
        raise UserError("no column 'image'", where=str(file), fix="name it so: bytes, or a struct {bytes, path}")
    return int(parquet.metadata.num_rows)


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


@lru_cache(maxsize=8)
def _members(file: Path, _changed: int) -> dict[str, tuple[int, int]]:
    """Where the images of a tar shard begin, and how long they are. Plain files only: no links, no holes."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    continue
                if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                    continue
                if member.name in found:
                    raise UserError(
                        f"holds '{plain(member.name)}' twice", where=str(file), fix="give each image a name of its own"
                    )
                found[member.name] = (member.offset_data, member.size)
    except (OSError, ValueError, tarfile.TarError) as error:
        raise UserError(
            f"not readable as tar ({type(error).__name__})", where=str(file), fix="unpack compressed ones"
        ) from None
    return found


def _fetch_members(file: Path, places: Sequence[str], most: int) -> Iterator[bytes]:
    """The images of a tar shard, but no more of each than one byte above `most`."""
    where = _members(file, file.stat().st_mtime_ns)
    with file.open("rb") as handle:
        for place in places:
            begin, length = where[place]
            handle.seek(begin)
            yield handle.read(min(length, most + 1))
