"""Pixels that re-identification trains on: any rows of them, at any time, without holding all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images
from pd.store.kept import at_hand, keep_folder, there

_PART = 256  # images read at once
_NAME = "pixels.raw"


@dataclass(frozen=True)
class PixelRows:
    """Pixels in one file, decoded once; rows are read one by one, so memory holds a batch alone (a mapped file would count).

    Attributes:
        folder: where the file is, on storage that all ranks share, or the mirror of one.
        shape: (N, H, W, C).
    """

    folder: Path
    shape: tuple[int, ...]

    @classmethod
    def write(cls, images: Images, folder: Path) -> "PixelRows":
        """All images into `folder`, unless they are there."""
        if not there(folder):
            with keep_folder(folder) as aside, (aside / _NAME).open("wb") as file:
                for start in range(0, len(images), _PART):
                    file.write(np.ascontiguousarray(images[start : start + _PART]).tobytes())
        return cls(folder, tuple(images.shape))

    def take(self, rows: npt.NDArray[np.int64]) -> Pixels:
        """(n, H, W, C) uint8, in the order of `rows`."""
        if not self.folder.exists():
            at_hand(self.folder)
        size = int(np.prod(self.shape[1:]))
        pixels = np.empty((len(rows), *self.shape[1:]), np.uint8)
        with (self.folder / _NAME).open("rb", buffering=0) as file:
            for place, row in zip(pixels, rows.tolist(), strict=True):
                file.seek(row * size)
                held = file.read(size)
                place[...] = np.frombuffer(held, np.uint8).reshape(self.shape[1:])
        return pixels


@dataclass(frozen=True, eq=False)
class Held:
    """Pixels in memory.

    Attributes:
        pixels: (N, H, W, C) uint8.
    """

    pixels: Pixels

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return self.pixels.shape

    def take(self, rows: npt.NDArray[np.int64]) -> Pixels:
        """(n, H, W, C) uint8, in the order of `rows`."""
        return self.pixels[rows]


Rows = PixelRows | Held
