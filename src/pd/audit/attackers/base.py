"""What an attacker is: something that says how alike two pictures' people are, and never saw the filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pd.audit.nearest import Nearest
from pd.classify.task import digest_of_array
from pd.config import digest_of
from pd.dataset.images import Pixels, mirrored
from pd.dataset.mapping import HERE_BYTES, MakeRows, MapRows, OfImages, array_of, columns
from pd.dataset.parquet_images import Images, blocks, held_bytes, images_digest
from pd.reid.spaces.whitening import Rows

_TOLD_BY = 8  # images by whose rows one fitted attacker is told from another


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
    def of(cls, attacker: Attacker, images: Images, map_rows: MapRows | None = None) -> "Embedded":
        """Embed (N, H, W, C) uint8, in memory or in files, and the same swapped left and right.

        Args:
            attacker: fitted.
            images: of which workers can read the files, where they are in files.
            map_rows: embeds much; None: this process does, as it does little, where it has a GPU, and for attackers that do
                not say that they travel: what they hold may not be pickled.
        """
        attacker = for_set(attacker, images)
        travels = getattr(attacker, "travels", False) and not torch.cuda.is_available()
        if map_rows and travels and held_bytes(images) > HERE_BYTES:
            function = SeenRows(attacker, images)
            table = map_rows(function, f"seen-{function.key}")
            return cls(array_of(table, "plain"), array_of(table, "mirrored"))
        plain, turned = [], []
        for _, block in blocks(images):
            plain.append(attacker.embed(block))
            turned.append(attacker.embed(mirrored(block)))
        return cls(np.concatenate(plain), np.concatenate(turned))


@dataclass(frozen=True, eq=False)
class SeenRows(OfImages):
    """Images and their mirror images as an attacker sees them, as a function for the mapper.

    Args:
        attacker: fitted.
        images: (N, H, W, C) uint8, in memory or in files.
    """

    attacker: Attacker
    images: Images

    batch = 256

    @cached_property
    def key(self) -> str:
        told = self.attacker.embed(self.images[:_TOLD_BY])
        return digest_of([digest_of_array(told), images_digest(self.images)])

    def open(self, device: str) -> MakeRows:
        def make(rows: range) -> pa.Table:
            images = self.images[rows.start : rows.stop]
            return columns({"plain": self.attacker.embed(images), "mirrored": self.attacker.embed(mirrored(images))})

        return make


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
