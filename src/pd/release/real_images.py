"""Finding a real image again: by its bytes, by its pixels, and by pixels that are nearly its own."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

from pd.config import DataSettings
from pd.dataset.decode import picture_digest
from pd.dataset.images import Pixels, encode_png, mirrored
from pd.dataset.parquet_images import blocks, rows_of
from pd.dataset.parquet_rows import row_batches
from pd.dataset.private import PrivateDataset

NEAR = 2.0
"""Mean absolute difference, in grey levels, below which two images are one."""
_BLOCKS = 4
_BYTES = 16 << 20  # of pixels at a time


class RealImages:
    """The private images, ready to be looked for: digests and sums of blocks are held, pixels are read where these are near.

    Screening is exact: a block's sum differs by no more than its pixels do together, so the L1 distance of sums is
    a lower bound of that of the pixels, and no pair below NEAR is missed.

    Args:
        dataset: the private images.
        folder: where they lie, for the bytes as they are encoded there; None: as pd encodes them.
    """

    def __init__(self, dataset: PrivateDataset, folder: Path | None = None) -> None:
        self._images = dataset.images
        self.size, self.mode = self._images.shape[1], "grey" if self._images.shape[3] == 1 else "rgb"
        self._digests: set[bytes] = set()
        self._bytes = set(_stored(folder))
        sums = []
        for _, block in blocks(self._images, _BYTES):
            for image in block:
                self._digests |= {picture_digest(image), picture_digest(image[:, ::-1])}
                if folder is None:
                    self._bytes.add(hashlib.sha256(encode_png(image)).digest())
            sums.append(_block_sums(block))
        self._tree = cKDTree(np.concatenate(sums))

    def settings(self, resize: str = "crop") -> DataSettings:
        """How an image is decoded to be compared."""
        return DataSettings.model_validate({"size": self.size, "mode": self.mode, "resize": resize})

    def has_bytes(self, data: bytes) -> bool:
        """Whether this very file is a real image's."""
        return hashlib.sha256(data).digest() in self._bytes

    def has_picture(self, digest: bytes) -> bool:
        """Whether a picture's digest (`Decoded.digest`, before resizing) is a real image's or its mirror image's."""
        return digest in self._digests

    def near(self, images: Pixels) -> npt.NDArray[np.bool_]:
        """(N,) bool: which of (N, H, W, C) uint8, or their mirror images, are closer than NEAR to a real image."""
        found = np.zeros(len(images), np.bool_)
        for view in (images, mirrored(images)):
            radius = NEAR * int(np.prod(view.shape[1:]))
            for row, nearby in enumerate(self._tree.query_ball_point(_block_sums(view), radius, p=1)):
                found[row] = found[row] or self._is_one_of(view[row], nearby)
        return found

    def _is_one_of(self, image: Pixels, nearby: list[int]) -> bool:
        """Whether (H, W, C) uint8 is closer than NEAR to a real image of these rows."""
        for _, block in blocks(rows_of(self._images, np.asarray(sorted(nearby), np.int64)), _BYTES):
            gaps = np.abs(block.astype(np.int16) - image.astype(np.int16))
            if bool((gaps.mean(axis=(1, 2, 3)) < NEAR).any()):
                return True
        return False


def _block_sums(images: Pixels) -> npt.NDArray[np.float64]:
    """(N, 4 * 4 * C) sums over a grid of blocks that covers each pixel once; whole numbers, so exact in any order."""
    starts = [np.linspace(0, side, _BLOCKS + 1).astype(int)[:-1] for side in images.shape[1:3]]
    rows = np.add.reduceat(images, starts[0], axis=1, dtype=np.uint32)
    sums = np.add.reduceat(rows, starts[1], axis=2)
    flat: npt.NDArray[np.float64] = sums.reshape(len(images), -1).astype(np.float64)
    return flat


def _stored(folder: Path | None) -> Iterator[bytes]:
    """SHA-256 of each encoded image of a folder."""
    for file in sorted(folder.glob("*.parquet")) if folder else []:
        with pq.ParquetFile(file) as parquet:
            for batch in row_batches(parquet, ["image"]):
                values = batch["image"].to_pylist()
                yield from (hashlib.sha256(value["bytes"]).digest() for value in values if value and value["bytes"])
