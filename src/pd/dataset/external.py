"""Images that somebody else's generator made, named one by one and read a few at a time.

They lie in image folders, in Parquet, or in tar shards as WebDataset writes them; on this machine or in an S3 bucket.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pd.config import DataSettings, digest_of
from pd.dataset.containers import LONGEST_PROMPT, Beside, members, read_columns, read_rows, read_words, rows_in
from pd.dataset.decode import SUFFIXES, BadImage, decode, largest_file, load
from pd.dataset.images import Pixels
from pd.dataset.readers.source import plain, utf8
from pd.errors import UserError
from pd.store.places import Place

CONTAINERS = (".parquet", ".tar")
_LONGEST_TEXT = 1 << 16  # bytes of a file beside an image
_AT_ONCE = 8  # images fetched from a bucket side by side: each is a wait of some 50 ms

Found = tuple[str, Pixels | BadImage]


@dataclass(frozen=True)
class Listing:
    """Images of a place, in order.

    Attributes:
        names: where each lies, relative to the place; `FILE#ROW` for images in Parquet, `FILE#PATH` for those in tar shards.
        begins: (N,) int64, where each begins in its tar shard, in bytes; 0 elsewhere.
        lengths: (N,) int64, how long it is there; 0 elsewhere.
        known: what people know each by, where that is not where it lies; each name once.
    """

    names: list[str]
    begins: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    known: list[str] | None = None

    @property
    def ids(self) -> list[str]:
        """What each image goes by."""
        return self.names if self.known is None else self.known

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> "Listing":
        """Some of the images, by their numbers."""
        known = None if self.known is None else [self.known[row] for row in rows]
        return Listing([self.names[row] for row in rows], self.begins[rows], self.lengths[rows], known)


def list_images(place: Place) -> Listing:
    """The images of a place. Of tar shards the headers are read here, once, so that a worker reads its images alone.

    Args:
        place: a folder of images, or of Parquet files and tar shards, nested or not; or one such file.

    Raises:
        UserError: no such place, no image in it, a name that is not UTF-8, a file that cannot be read, Parquet without a column
            `image` of images, or a tar shard that holds a name twice.
    """
    files = place.files()
    containers = [file.name for file in files if file.name.endswith(CONTAINERS)]
    if place.is_file and not containers:
        raise UserError(
            "neither a folder, nor Parquet, nor tar", code="unreadable-file", where=str(place), fix="name a folder of images"
        )
    names = [file.name for file in files if file.link or file.name.lower().endswith(SUFFIXES)]
    if names and containers:
        what = f"{len(names)} image files and {len(containers)} of Parquet or tar"
        raise UserError(what, code="unknown-name", where=str(place), fix="name a folder of one kind")
    spots = [(0, 0)] * len(names)
    for file in containers:
        inside = members(place, file) if file.endswith(".tar") else {str(row): (0, 0) for row in range(rows_in(place, file))}
        names += [f"{file}#{name}" for name in inside]
        spots += inside.values()
    for name in names:
        if not utf8(name):
            raise UserError("a name that is not UTF-8", code="bad-name", where=plain(f"{place}/{name}"), fix="rename it")
    if not names:
        raise UserError(
            "no image here", code="no-images", where=str(place), fix=f"read are Parquet, tar and {' '.join(SUFFIXES)}"
        )
    begins, lengths = np.array(spots, np.int64).T
    return Listing(names, begins, lengths)


def read_images(place: Place, images: Listing, settings: DataSettings) -> Iterator[Found]:
    """Each name with its image, (size, size, C) uint8, or with why it cannot be used.

    Args:
        place: as for `list_images`.
        images: some of what that listed.
        settings: size, mode, resize, max_pixels and on_bad_image count.

    Raises:
        UserError: an image cannot be used and `on_bad_image` is `stop`, or a bucket cannot be read any more.
    """
    for name, data in zip(images.ids, _fetch(place, images, largest_file(settings)), strict=True):
        try:
            if isinstance(data, BadImage):
                raise data
            yield name, decode(load(data, settings), settings).pixels
        except BadImage as bad:
            if settings.on_bad_image == "stop":
                fix = "mend or remove it, or set data.on_bad_image: skip"
                raise UserError(str(bad), code="bad-image", where=plain(f"{place}/{name}"), fix=fix) from None
            yield name, bad


def read_texts(place: Place, images: Listing) -> tuple[list[str], dict[str, npt.NDArray[np.float64]]]:
    """What lies beside the images: prompts, empty where there is none, and labels, NaN where missing.

    Of Parquet the columns `prompt` and `label.NAME` of numbers; of tar shards what `NAME.txt`, or `prompt` or `caption` of
    `NAME.json`, says of `NAME.png`; of image files nothing.

    Args:
        place: as for `list_images`.
        images: some of what that listed.

    Raises:
        UserError: a file cannot be read any more, or has too many labels.
    """
    prompts: list[str] = []
    labels: list[dict[str, float]] = []
    for kind, group in groupby(range(len(images)), key=lambda row: _kind(images.names[row])):
        rows = list(group)
        if kind.endswith(".parquet"):
            for prompt, numbers in read_words(place, kind, [int(_split(images.names[row])[1]) for row in rows]):
                prompts.append(prompt)
                labels.append(numbers)
        else:
            found = _captions(place, kind, [_split(images.names[row])[1] for row in rows]) if kind else [""] * len(rows)
            prompts += found
            labels += [{}] * len(rows)
    names = sorted({name for numbers in labels for name in numbers})
    return prompts, {name: np.array([numbers.get(name, np.nan) for numbers in labels]) for name in names}


def read_values(place: Place, images: Listing, columns: Sequence[str]) -> list[dict[str, str | float | None]]:
    """What columns of Parquet say of each image; empty for images of other kinds.

    Args:
        place: as for `list_images`.
        images: some of what that listed.
        columns: of text or numbers.
    """
    found: list[dict[str, str | float | None]] = []
    for kind, group in groupby(range(len(images)), key=lambda row: _kind(images.names[row])):
        rows = list(group)
        if kind.endswith(".parquet"):
            found += read_columns(place, kind, [int(_split(images.names[row])[1]) for row in rows], columns)
        else:
            found += [{} for _ in rows]
    return found


def _captions(place: Place, shard: str, images: Sequence[str]) -> list[str]:
    """What a tar shard says of some of its images."""
    spots = members(place, shard, (".txt", ".json"))
    beside = Beside(spots)
    with place.open(shard) as file:

        def said(row: int) -> str:
            for suffix in (".txt", ".json"):
                begins, length = spots.get(beside.find(images[row], suffix) or "", (0, 0))
                if 0 < length <= _LONGEST_TEXT and (text := _prompt(file.read_at(length, begins), suffix)):
                    return text[:LONGEST_PROMPT]
            return ""

        return list(_map(place, said, range(len(images))))


def _prompt(data: bytes, suffix: str) -> str:
    """The prompt in a text or JSON file; empty where it holds none."""
    text = data.decode(errors="replace").strip()
    if suffix == ".txt":
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    words = (found.get(key) for key in ("prompt", "caption")) if isinstance(found, dict) else ()
    return next((word for word in words if isinstance(word, str)), "")


def part(found: Iterable[Found], settings: DataSettings) -> tuple[list[str], Pixels, list[str]]:
    """Good images and bad ones apart.

    Returns:
        The names of the good, their pixels (n, size, size, C) uint8, and a line for each bad one.
    """
    good, images, bad = [], [], []
    for name, image in found:
        if isinstance(image, BadImage):
            bad.append(f"{plain(name)}: {image}")
        else:
            good.append(name)
            images.append(image)
    shape = (settings.size, settings.size, 1 if settings.mode == "grey" else 3)
    return good, np.stack(images) if images else np.zeros((0, *shape), np.uint8), bad


def fingerprint(place: Place, images: Listing) -> str:
    """16 hex digits that change when images come, go or change (by name, size and time, as `make` does)."""
    files = {_split(name)[0] for name in images.names}
    return digest_of([len(images), [(file.name, file.size, file.changed) for file in place.files() if file.name in files]])


def _split(name: str) -> tuple[str, str]:
    """The file that a name means, and the place in it; image files may have a # in theirs."""
    for suffix in CONTAINERS:
        file, found, inside = name.partition(f"{suffix}#")
        if found:
            return file + suffix, inside
    return name, ""


def _fetch(place: Place, images: Listing, most: int) -> Iterator[bytes | BadImage]:
    """The encoded images, or why there is none."""
    for kind, rows in groupby(range(len(images)), key=lambda row: _kind(images.names[row])):
        if not kind:
            yield from _map(place, partial(_read_file, place, images, most), list(rows))
        elif kind.endswith(".parquet"):
            yield from read_rows(place, kind, [int(_split(images.names[row])[1]) for row in rows])
        else:
            with place.open(kind) as shard:
                yield from _map(place, partial(_read_member, shard, images, most), list(rows))


def _kind(name: str) -> str:
    """The Parquet or tar file that an image lies in, empty for files of their own."""
    file, inside = _split(name)
    return file if inside else ""


def _map(place: Place, read: Callable[[int], Any], rows: Sequence[int]) -> Iterator[Any]:
    """What `read` gives for each row, in order; from a bucket a few side by side, no more than those in memory."""
    if not place.remote:
        yield from map(read, rows)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for first in range(0, len(rows), _AT_ONCE):
            yield from pool.map(read, rows[first : first + _AT_ONCE])


def _read_member(shard: pa.NativeFile, images: Listing, most: int, row: int) -> bytes:
    """An image of a tar shard, but no more of it than one byte above `most`."""
    data: bytes = shard.read_at(min(int(images.lengths[row]), most + 1), int(images.begins[row]))
    return data


def _read_file(place: Place, images: Listing, most: int, row: int) -> bytes | BadImage:
    """An image file whole, or why not."""
    name = images.names[row]
    try:
        if not place.holds(name):
            return BadImage("outside the folder", "a link that leads out")
        with place.open(name) as file:
            size = file.size()
            return file.read_at(size, 0) if size <= most else BadImage("too large", f"{size} bytes")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        number = getattr(error, "errno", None)
        return BadImage("missing", os.strerror(number) if number else "no plain file")
