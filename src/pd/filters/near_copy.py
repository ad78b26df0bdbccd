"""Copies of member images: a detector that knows nothing of people, so that it can disagree with re-identification.

Every image gets a descriptor (`pd.filters.descriptor`). Descriptors of like pictures, such as faces, have much in common;
what they have in common is taken out and what varies much is held back, by the mean and the principal axes of the members'
descriptors. Each axis is divided by the fourth root of its variance: half-way between the plain cosine, in which a few
axes decide, and full whitening, in which noise does (a power of the covariance between 0 and -1/2, as in Jegou & Chum,
"Negative evidences and co-occurences in image retrieval", ECCV 2012, who whiten descriptors for retrieval).

A member image enters the gallery in POSES, a query is asked as it is and mirrored; the likeness is the largest cosine,
found by the same exact search as re-identification's.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pd.filters.descriptor import UPRIGHT, Pose, describe

_SHIFT = 0.025  # of the side
POSES: tuple[Pose, ...] = (UPRIGHT, *((0.95, down, right) for down in (-_SHIFT, _SHIFT) for right in (-_SHIFT, _SHIFT)))
AXES = 128  # principal axes kept: the rest is noise, and a large gallery has to be searched
_ENOUGH = 4096  # member images from which mean and axes are estimated


@dataclass(frozen=True, eq=False)
class NearCopyDetector:
    """What members' descriptors have in common, and what they are compared by.

    Attributes:
        mean: (d,) float32 of their descriptors.
        axes: (d, k) float32, principal axes, each divided by the fourth root of its variance; k at most AXES.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def fit(cls, members: NDArray[np.uint8]) -> Self:
        """From (M, H, W, C) uint8 images, M at least 1; of many, evenly spaced ones."""
        rows = describe(members[:: -(-len(members) // _ENOUGH)], POSES).astype(np.float64)
        mean = rows.mean(0)
        variance, axes = np.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        # The largest first; those that are nothing but rounding, as in a gallery of three pictures, are no axes.
        kept = np.flatnonzero(variance[::-1] > 1e-6 * max(variance[-1], 1e-12))[:AXES]
        scaled = axes[:, ::-1][:, kept] / variance[::-1][kept] ** 0.25
        return cls(mean.astype(np.float32), np.ascontiguousarray(scaled, np.float32))

    def compare(self, described: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows whose cosine is the likeness.

        Args:
            described: (N, d) float32, as `describe` makes them.

        Returns:
            (N, k + 1) float32, rows of unit length. The last column is 1 for images without any structure.
        """
        flat = described[:, -1] > 0.5
        rows = (described - self.mean) @ self.axes
        length = np.linalg.norm(rows, axis=1)
        flat |= length < 1e-6
        rows = np.where(flat[:, None], 0, rows / np.where(flat, 1, length)[:, None])
        return np.column_stack([rows, flat]).astype(np.float32)

    def gallery_rows(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The rows that (M, H, W, C) uint8 images put into the gallery: image i has len(POSES) of them, from i * len(POSES)."""
        step = 2048  # images whose whole descriptors are held at a time
        parts = [self.compare(describe(images[at : at + step], POSES)) for at in range(0, max(len(images), 1), step)]
        return np.concatenate(parts)
