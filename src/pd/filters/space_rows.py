"""What is learned and computed in learned spaces, as functions for the mapper: the spaces themselves, and rows of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pd.classify.task import digest_of_array
from pd.config import digest_of
from pd.dataset.images import mirrored
from pd.dataset.mapping import MakeRows, OfImages, columns
from pd.dataset.parquet_images import Images, blocks, held_bytes, images_digest
from pd.reid.spaces.space import STEPS, Space, embed_in
from pd.reid.spaces.views import most_pictures
from pd.reid.spaces.whitening import Whitening

EACH = 2  # rows of an image in a gallery: as it is and mirrored, so that a candidate is embedded once


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a space is learned from: arguments of `Space.learn`."""

    kind: str
    images: Images
    identities: Sequence[str]
    seed: int


@dataclass(frozen=True, eq=False)
class SpaceLessons:
    """Learns a space a row; see `spaces_of`."""

    lessons: Sequence[Lesson]

    batch = shard_rows = 1

    @cached_property
    def key(self) -> str:
        told = [[one.kind, images_digest(one.images), list(one.identities), one.seed] for one in self.lessons]
        return digest_of([told, STEPS])

    @property
    def total(self) -> int:
        return len(self.lessons)

    @property
    def pixel_bytes(self) -> int:
        return sum(held_bytes(one.images) // max(1, len(one.images)) * most_pictures(STEPS) for one in self.lessons)

    def open(self, device: str) -> MakeRows:
        def make(rows: range) -> pa.Table:
            found = [
                Space.learn(one.kind, one.images, one.identities, seed=one.seed) for one in self.lessons[rows.start : rows.stop]
            ]
            return pa.table(
                {
                    "kind": [space.kind for space in found],
                    "mean": _lists(space.whitening.mean for space in found),
                    "matrix": _lists(space.whitening.matrix for space in found),
                }
            )

        return make


@dataclass(frozen=True, eq=False)
class SpaceRows(OfImages):
    """Rows of images in spaces of one kind: column `k` holds those in the k-th space.

    Args:
        spaces: of one kind.
        images: (N, H, W, C) uint8, in memory or in files.
        both: EACH rows an image, side by side: as it is, and mirrored; else as it is alone.
    """

    spaces: Sequence[Space]
    images: Images
    both: bool

    batch = 256

    @cached_property
    def key(self) -> str:
        return digest_of([[space_digest(space) for space in self.spaces], images_digest(self.images), self.both])

    def open(self, device: str) -> MakeRows:
        def make(rows: range) -> pa.Table:
            images = self.images[rows.start : rows.stop]
            found = both_ways_in(self.spaces, images) if self.both else embed_in(self.spaces, images)
            return columns({str(k): one.reshape(len(images), -1) for k, one in enumerate(found)})

        return make


def spaces_of(table: pa.Table) -> list[Space]:
    """The spaces that `SpaceLessons` learned."""
    found = []
    for row in range(len(table)):
        mean, matrix = (np.asarray(table[name][row].values, dtype=np.float32) for name in ("mean", "matrix"))
        found.append(Space(table["kind"][row].as_py(), Whitening(mean, matrix.reshape(len(mean), -1))))
    return found


def both_ways(space: Space, images: Images) -> NDArray[np.float32]:
    """(EACH * N, k) gallery rows of (N, H, W, C) uint8: image i's are EACH * i, as it is, and EACH * i + 1, mirrored."""
    return both_ways_in([space], images)[0]


def both_ways_in(spaces: Sequence[Space], images: Images) -> list[NDArray[np.float32]]:
    """What `both_ways` gives in each of several spaces of one kind."""
    plain = embed_in(spaces, images)
    turned = [embed_in(spaces, images[:0]), *(embed_in(spaces, mirrored(block)) for _, block in blocks(images))]
    sides = zip(plain, map(np.concatenate, zip(*turned, strict=True)), strict=True)
    return [np.stack(side, axis=1).reshape(EACH * len(images), -1) for side in sides]


def space_digest(space: Space) -> list[str]:
    """Equal for equal spaces."""
    return [space.kind, *(digest_of_array(values) for values in (space.whitening.mean, space.whitening.matrix))]


def unfolded(rows: NDArray[Any], each: int) -> NDArray[Any]:
    """(N * each, k) of (N, each * k): the rows of an image that lay side by side."""
    return rows.reshape(len(rows) * each, -1)


def _lists(arrays: Any) -> pa.Array:
    return pa.array([values.reshape(-1) for values in arrays], pa.list_(pa.float32()))
