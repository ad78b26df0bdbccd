"""The same picture twice in the synthetic set, to the pixel or nearly: the first by id stays."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pd.filters.descriptor import CONTRASTS
from pd.reid.gallery import Gallery

SKETCH = CONTRASTS  # numbers of a sketch: what stands out locally, to the near-copy detector
_BLOCK = 2048  # sketches compared among themselves at a time


def pixels_digest(image: npt.NDArray[np.uint8]) -> str:
    """32 hex digits of the SHA-256 of an image's shape and pixels, (H, W, C) uint8."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()[:32]


def repeated(digests: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which of (N,) digests, in the order of ids, have been there before."""
    names = np.asarray(digests, dtype="S32")
    repeats = np.ones(len(names), dtype=bool)
    repeats[np.unique(names, return_index=True)[1]] = False
    return repeats


def sketches(descriptors: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """Small enough to be kept beside every candidate: (N, SKETCH) int8 of the near-copy detector's (N, d) descriptors."""
    contrast = descriptors[:, :SKETCH]
    largest = np.abs(contrast).max(axis=1, keepdims=True)
    scaled = np.divide(contrast, largest, out=np.zeros_like(contrast), where=largest > 0)
    rounded: npt.NDArray[np.int8] = np.rint(127 * scaled).astype(np.int8)
    return rounded


def nearly_repeated(blocks: Iterable[npt.NDArray[np.int8]], likeness: float) -> npt.NDArray[np.bool_]:
    """Which sketches are as like as `likeness`, a cosine, to an earlier one that stays itself.

    Exact: every sketch is compared with all that stay before it. Memory is theirs, and _BLOCK x _BLOCK.

    Args:
        blocks: sketches in the order of ids, (n, SKETCH) int8 each, of any n.
        likeness: cosine from which two are one picture.

    Returns:
        (N,) bool. A sketch of nothing (an even picture) repeats nobody: `pixels_digest` tells such pictures apart.
    """
    kept: list[tuple[int, npt.NDArray[np.float32], Gallery]] = []  # of falling size, so that there are few
    found: list[npt.NDArray[np.bool_]] = []
    for block in blocks:
        for start in range(0, len(block), _BLOCK):
            rows, seen = _unit(block[start : start + _BLOCK])
            hit = np.zeros(len(rows), dtype=bool)
            for _, _, gallery in kept:
                hit[seen] |= gallery.any_above(rows[seen], likeness)
            later = np.triu(rows @ rows.T >= likeness, 1)
            for row in np.flatnonzero(later.any(axis=1)):
                if not hit[row]:
                    hit |= later[row]
            found.append(hit)
            stay = rows[seen & ~hit]
            if len(stay):
                _add(kept, stay)
    return np.concatenate(found) if found else np.zeros(0, dtype=bool)


def _add(kept: list[tuple[int, npt.NDArray[np.float32], Gallery]], rows: npt.NDArray[np.float32]) -> None:
    """Put rows into a gallery; galleries of like size become one, so that N rows are in about log N of them."""
    while kept and kept[-1][0] <= 2 * len(rows):
        rows = np.concatenate([kept.pop()[1], rows])
    kept.append((len(rows), rows, Gallery(rows)))


def _unit(block: npt.NDArray[np.int8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Rows of unit length, and which rows have a length at all."""
    rows = block.astype(np.float64)
    length = np.linalg.norm(rows, axis=1)
    seen = length > 0
    return (rows / np.where(seen, length, 1)[:, None]).astype(np.float32), seen
