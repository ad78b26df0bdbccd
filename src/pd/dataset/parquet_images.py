"""Images that stay in the Parquet files that hold them, and are decoded as they are asked for."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pd.dataset.images import Pixels, to_arrays
from pd.errors import UserError


@dataclass(frozen=True, eq=False)
class ParquetImages:
    """The column `image` of files that `pd` wrote, or some of its rows, in the shape of an array.

    `images[rows]` decodes these rows, a slice or an array of indices; `take` chooses rows and decodes none. It can be pickled:
    what travels are the files' names.

    Attributes:
        files: in their order.
        groups: (G, 3) int64, of each row group its file, its number there, and its first row over all files.
        shape: (N, H, W, C), C = 1 grey or 3 RGB; (0, 0, 0, 1) where there is no image at all.
        rows: (N,) int64, which rows of all files together these are.
    """

    files: tuple[Path, ...]
    groups: npt.NDArray[np.int64]
    shape: tuple[int, ...]
    rows: npt.NDArray[np.int64]

    @classmethod
    def open(cls, files: Sequence[Path]) -> "ParquetImages":
        """All rows of the files; one image is decoded, to learn the size."""
        groups, total = [], 0
        for number, file in enumerate(files):
            found = pq.read_metadata(file)
            for group in range(found.num_row_groups):
                if size := found.row_group(group).num_rows:
                    groups.append((number, group, total))
                    total += size
        whole = cls(
            tuple(file.absolute() for file in files),
            np.array(groups, np.int64).reshape(-1, 3),
            (total, 0, 0, 1),
            np.arange(total),
        )
        if not total:
            return whole
        with pq.ParquetFile(files[groups[0][0]]) as parquet:
            first = to_arrays(next(parquet.iter_batches(1, row_groups=[groups[0][1]], columns=["image"]))["image"])
        return replace(whole, shape=(total, *first.shape[1:]))

    @property
    def dtype(self) -> "np.dtype[np.uint8]":
        """Of the arrays that come out."""
        return np.dtype(np.uint8)

    @property
    def ndim(self) -> int:
        """4."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: npt.NDArray[np.int64]) -> "ParquetImages":
        """The images of these rows, in their order; nothing is read."""
        chosen = self.rows[rows]
        return replace(self, shape=(len(chosen), *self.shape[1:]), rows=chosen)

    def __getitem__(self, rows: slice | npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Pixels:
        """(n, H, W, C) uint8, in the order of `rows`.

        Raises:
            UserError: an image of another size than the first.
        """
        wanted = self.rows[rows]
        pixels = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        starts = self.groups[:, 2]
        within = np.searchsorted(starts, wanted, side="right") - 1
        for number in np.unique(within):
            here = np.flatnonzero(within == number)
            file, group, start = self.groups[number].tolist()
            path = self.files[file]
            column = _column(path, path.stat().st_mtime_ns, group).take(pa.array(wanted[here] - start))
            found = to_arrays(column, "grey" if self.shape[3] == 1 else "rgb")
            if found.shape[1:3] != self.shape[1:3]:
                sizes = " and ".join(f"{shape[2]}x{shape[1]}" for shape in (self.shape, found.shape))
                raise UserError(f"images of different sizes: {sizes}", code="mixed-sizes", fix="resize them to one size first")
            pixels[here] = found
        return pixels


Images = Pixels | ParquetImages
"""(N, H, W, C) uint8, in memory or in files; of either, `images[start:stop]` are pixels."""


BLOCK_BYTES = 64 << 20  # of pixels decoded at a time
_BLOCK_STEP = 256  # blocks of more rows hold a multiple: batches within them are then the same as of all rows together


def held_bytes(images: Images) -> int:
    """Bytes of all pixels, decoded."""
    return int(np.prod(images.shape, dtype=np.int64))


def blocks(images: Images, most: int = BLOCK_BYTES) -> Iterator[tuple[slice, Pixels]]:
    """All images in order, so many at a time as take `most` bytes: where they stand, and their pixels.

    Few images are one block. Blocks of several hold a multiple of 256 images, or a power of two below.
    """
    rows = max(1, most // max(1, held_bytes(images) // max(1, len(images))))
    rows = rows // _BLOCK_STEP * _BLOCK_STEP if rows >= _BLOCK_STEP else 1 << (rows.bit_length() - 1)
    for start in range(0, len(images), rows):
        here = slice(start, min(start + rows, len(images)))
        yield here, images[here]


def images_digest(images: Images) -> str:
    """16 hex digits that name images: of their pixels, or of names, sizes and times of their files and which rows they are."""
    whole = hashlib.sha256(repr(tuple(images.shape)).encode())
    if isinstance(images, ParquetImages):
        for file in images.files:
            info = file.stat()
            whole.update(f"{file.name} {info.st_size} {info.st_mtime_ns}\n".encode())
        whole.update(images.rows.astype(np.int64).tobytes())
    else:
        whole.update(np.ascontiguousarray(images).data)
    return whole.hexdigest()[:16]


def rows_of(images: Images, rows: npt.NDArray[np.int64]) -> Images:
    """The images of some rows, in memory or in files as before."""
    return images.take(rows) if isinstance(images, ParquetImages) else images[rows]


@lru_cache(maxsize=2)
def _column(file: Path, changed: int, group: int) -> pa.ChunkedArray:
    """The encoded images of a row group; kept for a while, because a group is often read in several parts."""
    with pq.ParquetFile(file) as parquet:
        return parquet.read_row_group(group, columns=["image"])["image"]
