"""Finding a real image again: by its bytes, by its pixels, and by pixels that are nearly its own."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

from pd.config import DataSettings
from pd.dataset.decode import decode
from pd.dataset.images import Pixels, encode_png, mirrored
from pd.dataset.private import PrivateDataset

NEAR = 2.0
"""Mean absolute difference, in grey levels, below which two images are one."""
_BLOCKS = 4


class RealImages:
    """The private images, ready to be looked for.

    Screening is exact: a block's sum differs by no more than its pixels do together, so the L1 distance of sums is
    a lower bound of that of the pixels, and no pair below NEAR is missed.

    Args:
        dataset: the private images.
        folder: where they lie, for the bytes as they are encoded there; None: as pd encodes them.
    """

    def __init__(self, dataset: PrivateDataset, folder: Path | None = None) -> None:
        self.size, self.mode = dataset.images.shape[1], "grey" if dataset.images.shape[3] == 1 else "rgb"
        encoded = [encode_png(image) for image in dataset.images]
        self._digests = {decode(data, self.settings()).digest for data in encoded}
        self._digests |= {decode(encode_png(image[:, ::-1]), self.settings()).digest for image in dataset.images}
        self._bytes = {hashlib.sha256(data).digest() for data in encoded + _stored(folder)}
        self._pixels = dataset.images.reshape(len(dataset.images), -1)
        self._shape = dataset.images.shape[1:]
        self._tree = cKDTree(_block_sums(dataset.images))

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
            radius = NEAR * self._pixels.shape[1]
            for row, nearby in enumerate(self._tree.query_ball_point(_block_sums(view), radius, p=1)):
                if nearby and not found[row]:
                    gaps = np.abs(self._pixels[nearby].astype(np.int16) - view[row].reshape(-1).astype(np.int16))
                    found[row] = bool((gaps.mean(axis=1) < NEAR).any())
        return found


def _block_sums(images: Pixels) -> npt.NDArray[np.float64]:
    """(N, 4 * 4 * C) sums over a grid of blocks that covers each pixel once."""
    starts = [np.linspace(0, side, _BLOCKS + 1).astype(int)[:-1] for side in images.shape[1:3]]
    sums = np.add.reduceat(np.add.reduceat(images.astype(np.float64), starts[0], axis=1), starts[1], axis=2)
    flat: npt.NDArray[np.float64] = sums.reshape(len(images), -1)
    return flat


def _stored(folder: Path | None) -> list[bytes]:
    if folder is None:
        return []
    tables = (pq.read_table(file, columns=["image"]) for file in sorted(folder.glob("*.parquet")))
    return [value["bytes"] for table in tables for value in table["image"].to_pylist() if value and value["bytes"]]
