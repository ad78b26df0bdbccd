"""What an attacker is: something that says how alike two pictures' people are, and never saw the filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pd.audit.nearest import Nearest
from pd.dataset.images import Pixels, mirrored
from pd.dataset.parquet_images import Images, blocks
from pd.reid.spaces.whitening import Rows


class Attacker(Protocol):
    """A way to re-identify."""

    name: str

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Learn from people whom neither the filter nor any generator was trained on.

        Args:
            images: (N, H, W, C) uint8, in memory or in files; of many, some are looked at.
            identities: N names.
            seed: of all chance in it.
            steps: how long to learn.
        """

    def embed(self, images: Pixels) -> Rows:
        """(N, d) float32 rows of unit length for (N, H, W, C) uint8; an inner product is the likeness."""


@runtime_checkable
class Adapting(Protocol):
    """An attacker that looks at a whole set before it embeds its pictures."""

    def of_set(self, images: Images) -> Attacker:
        """The same attacker, adapted to a set of one source: a gallery, or the samples of one arm."""


def for_set(attacker: Attacker, images: Images) -> Attacker:
    """Who embeds a set: the attacker itself, unless it adapts."""
    return attacker.of_set(images) if isinstance(attacker, Adapting) else attacker


@dataclass(frozen=True, eq=False)
class Embedded:
    """Images as an attacker sees them, beside their mirror images."""

    rows: Rows
    mirrored: Rows

    @classmethod
    def of(cls, attacker: Attacker, images: Images) -> "Embedded":
        """Embed (N, H, W, C) uint8, in memory or in files, and the same swapped left and right."""
        attacker = for_set(attacker, images)
        plain, turned = [], []
        for _, block in blocks(images):
            plain.append(attacker.embed(block))
            turned.append(attacker.embed(mirrored(block)))
        return cls(np.concatenate(plain), np.concatenate(turned))


def embedded(attacker: Attacker, images: Images) -> Rows:
    """(N, d) unit rows of (N, H, W, C) uint8, in memory or in files."""
    attacker = for_set(attacker, images)
    return np.concatenate([attacker.embed(block) for _, block in blocks(images)])


def similarity(queries: Rows, gallery: Embedded) -> npt.NDArray[np.float32]:
    """(N, M) float32: how alike each query is to each gallery image or its mirror image, whichever is more."""
    likeness = queries @ gallery.rows.T
    np.maximum(likeness, queries @ gallery.mirrored.T, out=likeness)
    return likeness


def nearest(
    queries: Rows, gallery: Embedded, same: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
) -> Nearest:
    """The gallery image that each query is most like, mirror images included; pairs of equal `same` do not count."""
    return Nearest.in_blocks(lambda rows: similarity(queries[rows], gallery), len(queries), len(gallery.rows), same)
