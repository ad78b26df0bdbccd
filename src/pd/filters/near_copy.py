"""Copies of member images: a detector that knows nothing of people, so that it can disagree with re-identification.

Every image gets a descriptor (`pd.filters.descriptor`). In the plain cosine of two a few axes decide, which all pictures of
one kind share; in the fully whitened one, noise does. So descriptors are whitened part of the way: along each principal
axis of the members' descriptors they are divided by a small power of what the members have there (whitening for retrieval:
Jegou & Chum, "Negative evidences and co-occurences in image retrieval", ECCV 2012). The mean is left in: pictures that
could be of anybody are like many members, and are what a coarse look re-identifies most.

A member image enters the gallery in POSES, a query is asked as it is and mirrored; the likeness is the largest cosine,
found by the same exact search as re-identification's.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pd.dataset.parquet_images import Images, rows_of
from pd.filters.descriptor import UPRIGHT, Pose, describe

_SHIFT = 0.025  # of the side
POSES: tuple[Pose, ...] = (UPRIGHT, *((0.95, down, right) for down in (-_SHIFT, _SHIFT) for right in (-_SHIFT, _SHIFT)))
AXES = 128  # principal axes kept: the rest is noise, and a large gallery has to be searched
_POWER = 0.15  # of the second moment along an axis; 0: plain cosine, 1/2: whitened (0.1 to 0.25 do about as well on faces)
_ENOUGH = 4096  # member images from which the axes are estimated


@dataclass(frozen=True, eq=False)
class NearCopyDetector:
    """What descriptors are compared by.

    Attributes:
        axes: (d, k) float32, principal axes of members' descriptors, scaled; k at most AXES.
    """

    axes: NDArray[np.float32]

    @classmethod
    def fit(cls, members: Images) -> Self:
        """From (M, H, W, C) uint8 images, M at least 1; of many, evenly spaced ones."""
        spaced = rows_of(members, np.arange(0, len(members), -(-len(members) // _ENOUGH)))
        rows = describe(spaced, POSES).astype(np.float64)
        moments, axes = np.linalg.eigh(rows.T @ rows / len(rows))
        # The largest first; those that are nothing but rounding, as in a gallery of three pictures, are no axes.
        kept = np.flatnonzero(moments[::-1] > 1e-9)[:AXES]
        scaled = axes[:, ::-1][:, kept] / moments[::-1][kept] ** _POWER
        return cls(np.ascontiguousarray(scaled, np.float32))

    def compare(self, described: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows whose cosine is the likeness.

        Args:
            described: (N, d) float32, as `describe` makes them.

        Returns:
            (N, k + 1) float32, rows of unit length. The last column is 1 for images without any structure.
        """
        flat = described[:, -1] > 0.5
        rows = described @ self.axes
        length = np.linalg.norm(rows, axis=1)
        flat |= length < 1e-6
        rows = np.where(flat[:, None], 0, rows / np.where(flat, 1, length)[:, None])
        return np.column_stack([rows, flat]).astype(np.float32)

    def gallery_rows(self, images: Images) -> NDArray[np.float32]:
        """The rows that (M, H, W, C) uint8 images put into the gallery: image i has len(POSES) of them, from i * len(POSES)."""
        step = 2048  # images whose whole descriptors are held at a time
        cuts = (np.arange(at, min(at + step, len(images))) for at in range(0, max(len(images), 1), step))
        parts = [self.compare(describe(rows_of(images, rows), POSES)) for rows in cuts]
        return np.concatenate(parts)
