"""The same pixels twice in the synthetic set: the first by id stays."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def pixels_digest(image: npt.NDArray[np.uint8]) -> str:
    """32 hex digits of the SHA-256 of an image's shape and pixels, (H, W, C) uint8."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()[:32]


def repeated(digests: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which of (N,) digests, in the order of ids, have been there before."""
    names = np.asarray(digests, dtype="S32")
    repeats = np.ones(len(names), dtype=bool)
    repeats[np.unique(names, return_index=True)[1]] = False
    return repeats
