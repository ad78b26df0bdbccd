"""The order in which training visits its rows: each once an epoch, shuffled anew, and never more than a window at a time.

Position p of the endless sequence of epochs belongs to step p // batch. A data set that fits into one window is permuted
as a whole. A larger one is shuffled in two levels: its shards (consecutive rows that lie in one file) are shuffled and
dealt into windows, and the rows of each window are shuffled among themselves. So whoever reads ahead holds one window,
and every file is read once an epoch. Where any position leads is a function of (seed, position) and the sizes below:
nothing has to be played from the start to go on in the middle.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pd.diffusion.randomness import Purpose, stream

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The sequence of rows.

    Attributes:
        seed: the training's.
        rows: of the data set, at least 1.
        shard_rows: rows of each shard; the last one may have fewer. 0: there are no shards, all is one window.
        window_rows: the most rows of a window, unless a single shard has more. 0: all is one window.
    """

    seed: int
    rows: int
    shard_rows: int = 0
    window_rows: int = 0

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError("there are no images to draw from")

    @property
    def windows(self) -> int:
        """Windows of an epoch."""
        if not self.shard_rows or self.rows <= self.window_rows or not self.window_rows:
            return 1
        return -(-self._shards // max(1, self.window_rows // self.shard_rows))

    def at(self, positions: Rows) -> Rows:
        """The rows (n,) at positions (n,)."""
        found = np.empty(len(positions), np.int64)
        windows, within = self._split(positions)
        for window in np.unique(windows):
            here = windows == window
            found[here] = _rows(self, int(window))[within[here]]
        return found

    def windows_at(self, positions: Rows) -> Rows:
        """The number of the window, (n,), that each position (n,) lies in; they count on from epoch to epoch."""
        return self._split(positions)[0]

    def shards_of(self, window: int) -> Rows:
        """The shards, ascending, that a window's rows lie in; (0,) for a data set without shards."""
        return np.sort(_dealt(self, window // self.windows)[window % self.windows])

    @property
    def _shards(self) -> int:
        return -(-self.rows // self.shard_rows) if self.shard_rows else 1

    def _split(self, positions: Rows) -> tuple[Rows, Rows]:
        """Window, and place within it, of each position."""
        epochs, left = np.divmod(positions, self.rows)
        if self.windows == 1:
            return epochs, left
        windows, within = np.empty_like(left), np.empty_like(left)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            starts = _starts(self, int(epoch))
            windows[here] = np.searchsorted(starts, left[here], side="right") - 1
            within[here] = left[here] - starts[windows[here]]
        return epochs * self.windows + windows, within


def share(step: int, batch: int, rank: int = 0, each: int | None = None) -> Rows:
    """The positions, (each,) int64, that a rank visits in a step of `batch` rows.

    Ranks take `each` rows in turn (None: all). Where that is more than there are, the batch's last row is visited again.
    """
    each = each or batch
    return step * batch + np.minimum(rank * each + np.arange(each), batch - 1)


@lru_cache(maxsize=4)
def _dealt(order: Order, epoch: int) -> list[Rows]:
    """The shards of each window of an epoch; windows differ by one shard at most."""
    if order.windows == 1:
        return [np.arange(order._shards)]
    return np.array_split(stream(order.seed, Purpose.EPOCH, epoch).permutation(order._shards), order.windows)


@lru_cache(maxsize=4)
def _starts(order: Order, epoch: int) -> Rows:
    """Where each window of an epoch starts, counted in rows from the epoch's first."""
    sizes = [int((_ends(order, shards) - shards * order.shard_rows).sum()) for shards in _dealt(order, epoch)]
    return np.concatenate([[0], np.cumsum(sizes)[:-1]])


@lru_cache(maxsize=4)
def _rows(order: Order, window: int) -> Rows:
    """The rows of a window in the order of their visit."""
    epoch, number = divmod(window, order.windows)
    if order.windows == 1:
        return stream(order.seed, Purpose.EPOCH, epoch).permutation(order.rows)
    shards = np.sort(_dealt(order, epoch)[number])
    pieces = [np.arange(shard * order.shard_rows, end) for shard, end in zip(shards, _ends(order, shards), strict=True)]
    return stream(order.seed, Purpose.WINDOW, window).permutation(np.concatenate(pieces))


def _ends(order: Order, shards: Rows) -> Rows:
    return np.minimum((shards + 1) * order.shard_rows, order.rows)
