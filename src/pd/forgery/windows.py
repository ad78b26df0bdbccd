"""Clips as small pictures in a row, and the windows of a few frames that networks look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pd.classify.inputs import Inputs
from pd.dataset.images import Pixels
from pd.seeds import derive


@dataclass(frozen=True)
class Footage:
    """Clips whose frames lie one after another.

    Attributes:
        frames: (N, S, S, C) uint8 by row, in memory or in files.
        starts: (M,) int64, the first row of each clip.
        lengths: (M,) int64, how many there are.
        people: who is in each; a clip without a name stands for itself.
        digest: of the frames' content, for keys.
    """

    frames: Inputs
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    people: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, clip: int, first: int, count: int) -> Pixels:
        """(count, S, S, C) uint8: the frames of a clip from the `first` on."""
        start = int(self.starts[clip]) + first
        return np.asarray(self.frames.take(np.arange(start, start + count)), np.uint8)

    def whole(self, clip: int) -> Pixels:
        """All frames of a clip."""
        return self.take(clip, 0, int(self.lengths[clip]))

    def only(self, clips: Sequence[int] | npt.NDArray[np.int64]) -> "Footage":
        """Some clips; no frame is read."""
        rows = np.asarray(clips, np.int64)
        people = tuple(self.people[row] for row in rows)
        return Footage(self.frames, self.starts[rows], self.lengths[rows], people, f"{self.digest}{rows.tolist()}")


def firsts(length: int, window: int, most: int) -> list[int]:
    """First frames of at most `most` windows, spread evenly over a clip, half overlapping at most."""
    room = length - window
    if room < 0:
        return []
    count = min(most, 1 + room * 2 // window) if window > 1 else min(most, room + 1)
    return [0] if count == 1 else [round(place * room / (count - 1)) for place in range(count)]


def drawn(length: int, window: int, seed: int, *names: str | int) -> int:
    """A first frame, drawn from (seed, names)."""
    return derive(seed, *names) % (length - window + 1)


def shuffled(window: int, seed: int, *names: str | int) -> npt.NDArray[np.int64]:
    """An order of a window's frames, (window,) int64, drawn from (seed, names), that is not theirs forwards or backwards."""
    chance = np.random.default_rng(derive(seed, *names))
    while True:
        order = chance.permutation(window)
        steps = np.diff(order)
        if not ((steps == 1).all() or (steps == -1).all()) or window < 3:
            return order.astype(np.int64)


def in_units(pixels: Tensor) -> Tensor:
    """(..., H, W, C) uint8 -> (..., 3, H, W) float32 in [-1, 1]; grey is repeated."""
    values = pixels.movedim(-1, -3).float() / 127.5 - 1.0
    return values.expand(*values.shape[:-3], 3, *values.shape[-2:])


def batch_of(footage: Footage, places: Sequence[tuple[int, int]], window: int) -> Tensor:
    """(n, window, S, S, C) uint8: windows by clip and first frame."""
    return torch.from_numpy(np.stack([footage.take(clip, first, window) for clip, first in places]))
