"""The gallery image that each image is most like, found in blocks: memory grows with the images, never with the pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Similarity = npt.NDArray[np.float32]
Found = TypeVar("Found")

_PAIRS = 1 << 24  # similarities held at a time, 64 MB


@dataclass(frozen=True, eq=False)
class Nearest:
    """N images against a gallery.

    Attributes:
        score: (N,) float32, similarity to the nearest; larger is more alike.
        row: (N,) int64, which gallery image that is.
    """

    score: npt.NDArray[np.float32]
    row: npt.NDArray[np.int64]

    @classmethod
    def of(cls, similarity: Similarity) -> "Nearest":
        """Of a matrix (N, M)."""
        return cls(similarity.max(axis=1), similarity.argmax(axis=1).astype(np.int64))

    @classmethod
    def in_blocks(
        cls,
        similar: Callable[[slice], Similarity],
        queries: int,
        gallery: int,
        same: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None,
    ) -> "Nearest":
        """Of a matrix that is made a few rows at a time.

        Args:
            similar: gives the rows of a slice of the queries, (n, gallery), as an array of its own.
            queries: N.
            gallery: M.
            same: who is in each query, (N,), and in each gallery image, (M,): pairs of one person do not count.
        """

        def look(rows: slice, block: Similarity) -> "Nearest":
            if same:
                block[same[0][rows, None] == same[1][None]] = -np.inf
            return cls.of(block)

        return cls.joined(in_blocks(similar, queries, gallery, look))

    @classmethod
    def joined(cls, parts: Sequence["Nearest"]) -> "Nearest":
        """Of images after images."""
        return cls(np.concatenate([part.score for part in parts]), np.concatenate([part.row for part in parts]))


def in_blocks(
    similar: Callable[[slice], Similarity], queries: int, gallery: int, look: Callable[[slice, Similarity], Found]
) -> list[Found]:
    """What is found in a matrix that is made a few rows at a time.

    Args:
        similar: gives the rows of a slice of the queries, (n, gallery), as an array of its own.
        queries: N.
        gallery: M.
        look: called with each slice and its rows.
    """
    step = max(1, _PAIRS // max(gallery, 1))
    slices = [slice(start, min(start + step, queries)) for start in range(0, queries, step)]
    return [look(rows, similar(rows)) for rows in slices]
