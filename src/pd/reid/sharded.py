"""A gallery whose rows lie in several places, because one device or one process cannot hold them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pd.reid.gallery import Gallery


class Part(Protocol):
    """Some consecutive rows: a `Gallery`, or what stands for one that is elsewhere."""

    def __len__(self) -> int: ...

    def exact_top_k(self, queries: Any, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As `Gallery.exact_top_k`."""

    def any_above(self, queries: Any, t: float) -> NDArray[np.bool_]:
        """As `Gallery.any_above`."""


class ShardedGallery:
    """Answers as one `Gallery` of all rows would, to the last bit; all parts search at the same time.

    Args:
        parts: the rows in their order, one part or more.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = list(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self._pool = ThreadPoolExecutor(len(self._parts))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def nearest(self, queries: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best row of each of (N, d) queries: scores (N,) float32 and indices (N,) int64."""
        scores, index = self.top_k(queries, 1)
        return scores[:, 0], index[:, 0]

    def top_k(self, queries: ArrayLike, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k best rows of each query, best first: scores (N, k) float32, indices (N, k) int64; k at most M."""
        if not 1 <= k <= len(self):
            raise ValueError(f"k = {k} of a gallery of {len(self)} rows")
        found = self._ask(lambda part: part.exact_top_k(queries, min(k, len(part))))
        scores = np.concatenate([own for own, _ in found], axis=1)
        rows = np.concatenate([own + start for (_, own), start in zip(found, self._starts, strict=False)], axis=1)
        # Rows stand in the order of parts, and within a part equal scores in the order of rows: a stable sort keeps that.
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1).astype(np.float32), np.take_along_axis(rows, order, 1)

    def any_above(self, queries: ArrayLike, t: float) -> NDArray[np.bool_]:
        """Whether any row scores >= t: (N,) bool."""
        above: NDArray[np.bool_] = np.any(self._ask(lambda part: part.any_above(queries, t)), axis=0)
        return above

    def _ask(self, question: Callable[[Part], Any]) -> list[Any]:
        return list(self._pool.map(question, self._parts))


def over_devices(rows: NDArray[np.float32], devices: Sequence[str | torch.device]) -> ShardedGallery:
    """(M, d) unit rows shared out evenly over devices; M at least their number."""
    return ShardedGallery(
        [Gallery(part, device=device) for part, device in zip(np.array_split(rows, len(devices)), devices, strict=True)]
    )
