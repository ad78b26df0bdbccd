"""Cached latents: shards of rows in Parquet, for each variant of the images the mean and, where it counts, the deviation.

Reading them needs no torch: who does nothing else starts quickly. `encode.py` writes them.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pd.diffusion.order import Order, Rows
from pd.diffusion.tensor_table import from_table, read_arrays

HELD = 2  # windows: the present one, and the next where a chunk of steps reaches into it

Floats = npt.NDArray[np.float32]


def shard_path(folder: Path, shard: int) -> Path:
    """Where a shard lies."""
    return folder / f"part-{shard:06d}.parquet"


@dataclass(frozen=True)
class _Window:
    """Latents of some shards, in memory.

    Attributes:
        starts: (shards,) int64, where the rows of each shard begin here; -1: it is not here.
        arrays: `mean` and maybe `deviation`, (n, variants, c, h, w) float32.
    """

    starts: Rows
    arrays: dict[str, Floats]


@dataclass
class Latents:
    """A finished cache of latents, read a window at a time.

    Args:
        folder: that holds the shards.
        rows: images in all.
        shard_rows: images of each shard, but for the last.
        window_rows: the most that are held at once, but for one whole shard; 0: all.
    """

    folder: Path
    rows: int
    shard_rows: int
    window_rows: int = 0
    _held: OrderedDict[tuple[int, ...], _Window] = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        empty = from_table(pq.read_schema(shard_path(self.folder, 0)).empty_table())
        self.variants = sum(name.startswith("mean.") for name in empty)
        self.shape: tuple[int, int, int] = empty["mean.0"].shape[1:]
        self.kinds = tuple(kind for kind in ("mean", "deviation") if f"{kind}.0" in empty)

    @property
    def deviates(self) -> bool:
        """Whether there is a deviation to sample with."""
        return "deviation" in self.kinds

    def order(self, seed: int) -> Order:
        """The order in which training visits the rows."""
        return Order(seed, self.rows, self.shard_rows, self.window_rows)

    @property
    def row_bytes(self) -> int:
        """Of an image's latents, all variants."""
        return 4 * int(np.prod(self.shape)) * self.variants * len(self.kinds)

    def take(self, order: Order, positions: Rows, variants: Rows) -> dict[str, Floats]:
        """Latents at some positions of the order.

        Args:
            order: as `order` gave it.
            positions: (n,) int64.
            variants: (n,) int64, which variant of the row at each.

        Returns:
            `mean` and maybe `deviation`, (n, c, h, w) float32.
        """
        rows, windows = order.at(positions), order.windows_at(positions)
        found = {kind: np.empty((len(rows), *self.shape), np.float32) for kind in self.kinds}
        for number in np.unique(windows):
            here = windows == number
            window = self._window(tuple(order.shards_of(int(number)).tolist()))
            places = window.starts[rows[here] // self.shard_rows] + rows[here] % self.shard_rows
            for kind, array in found.items():
                array[here] = window.arrays[kind][places, variants[here]]
        return found

    def _window(self, shards: tuple[int, ...]) -> _Window:
        if shards in self._held:
            self._held.move_to_end(shards)
            return self._held[shards]
        while len(self._held) >= HELD:
            self._held.popitem(last=False)
        self._held[shards] = self._load(shards)
        return self._held[shards]

    def _load(self, shards: tuple[int, ...]) -> _Window:
        sizes = [min(self.shard_rows, self.rows - shard * self.shard_rows) for shard in shards]
        starts = np.full(-(-self.rows // self.shard_rows), -1, np.int64)
        starts[list(shards)] = np.cumsum([0, *sizes[:-1]])
        shape = (sum(sizes), self.variants, *self.shape)
        arrays: dict[str, Any] = {kind: np.empty(shape, np.float32) for kind in self.kinds}
        for shard, size in zip(shards, sizes, strict=True):
            columns = read_arrays(shard_path(self.folder, shard))
            for kind, array in arrays.items():
                for variant in range(self.variants):
                    array[starts[shard] : starts[shard] + size, variant] = columns[f"{kind}.{variant}"]
        return _Window(starts, arrays)
