"""What classifiers learn from: rows of arrays, in memory or in files, as tensors."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pd.dataset.cache import Cached
from pd.dataset.parquet_images import Images, ParquetImages


class Inputs(Protocol):
    """Inputs by row: images (N, H, W, C) uint8, or features (N, d) float32."""

    def __len__(self) -> int:
        """How many rows there are."""

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        """These rows."""


class Held:
    """Inputs that lie in memory.

    Args:
        values: (N, H, W, C) uint8, or (N, d) float32.
    """

    def __init__(self, values: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        return self._values[rows]


class Chosen:
    """Some rows of others.

    Args:
        inputs: the others.
        rows: (n,) int64, which ones.
    """

    def __init__(self, inputs: Inputs, rows: npt.NDArray[np.int64]) -> None:
        self._inputs, self._rows = inputs, rows

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        return self._inputs.take(self._rows[rows])


def inputs_of(images: Images) -> Inputs:
    """Images, in memory or in files, as classifiers take them."""
    return Cached(images) if isinstance(images, ParquetImages) else Held(images)


def tensor(inputs: Inputs, rows: npt.NDArray[np.int64]) -> Tensor:
    """Rows as a network takes them: images as (n, C, H, W) float32 in [-1, 1], features as (n, d) float32."""
    values = inputs.take(rows)
    if values.ndim == 2:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))
    pixels = torch.from_numpy(np.ascontiguousarray(values)).permute(0, 3, 1, 2).float()
    return pixels / 127.5 - 1.0


def shape(inputs: Inputs) -> tuple[int, ...]:
    """Of one row as `tensor` gives it."""
    return tuple(tensor(inputs, np.zeros(1, np.int64)).shape[1:])


def batch_rows(seed: int, step: int, rows: int, batch: int) -> npt.NDArray[np.int64]:
    """The rows of a step's global batch, (batch,): every epoch is a new order of all rows, a function of (seed, epoch).

    An epoch has rows // batch steps; with fewer rows than a batch, each step has all of them.
    """
    batch = min(batch, rows)
    each = max(1, rows // batch)
    epoch, place = divmod(step, each)
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[place * batch : (place + 1) * batch].astype(np.int64)


def share_of(rows: npt.NDArray[np.int64], rank: int, world: int) -> npt.NDArray[np.int64]:
    """A rank's part of a step's rows; the batch must divide among the ranks."""
    if len(rows) % world:
        raise ValueError(f"a batch of {len(rows)} does not divide among {world} ranks")
    each = len(rows) // world
    return rows[rank * each : (rank + 1) * each]
