"""What a model is trained on: images and their captions, wherever they come from."""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images

PART_BYTES = 2**24  # of pixels decoded at once


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Images and captions, row by row. It knows nobody: no ids, no identities.

    Args:
        images: (N, H, W, C) uint8, C = 1 grey or 3 RGB; an array, or files from which they are decoded part by part.
        captions: N texts.
    """

    images: Images
    captions: list[str]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[-1] not in (1, 3):
            raise ValueError(f"images must be uint8 (N, H, W, 1 or 3), not {self.images.dtype} {self.images.shape}")
        if len(self.images) != len(self.captions):
            raise ValueError(f"{len(self.images)} images but {len(self.captions)} captions")

    def __len__(self) -> int:
        return len(self.captions)

    def parts(self) -> Iterator[Pixels]:
        """All images in order, (n, H, W, C) uint8 at a time, the same cuts whatever they are read from."""
        for rows in self._cuts():
            yield self.images[rows]

    def fingerprint(self) -> str:
        """SHA-256 of pixels and captions, hex: equal for equal ones, in memory or in files. All is read once, on all cores."""
        whole = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:  # Pillow decodes outside the interpreter's lock
            for digests in pool.map(self._digests, self._cuts()):
                whole.update(digests)
        whole.update(json.dumps(self.captions).encode())
        return whole.hexdigest()

    def _digests(self, rows: slice) -> bytes:
        return b"".join(hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in self.images[rows])

    def _cuts(self) -> Iterator[slice]:
        rows = max(1, PART_BYTES // max(1, int(np.prod(self.images.shape[1:]))))
        return (slice(start, min(start + rows, len(self))) for start in range(0, len(self), rows))
