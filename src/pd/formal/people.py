"""What private training reads of the members: latents, captions' rows and who is who, on disk, a bounded number a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from pd.seeds import derive


@dataclass(frozen=True)
class People:
    """Members' latents. Private.

    Attributes:
        latents: (N, c, h, w) float32, scaled.
        captions: (N,) int64, rows of a table of captions.
        first: (P + 1,) int64: person p's images are rows first[p] to first[p + 1].
    """

    latents: Tensor
    captions: Tensor
    first: Tensor

    def __len__(self) -> int:
        return len(self.first) - 1

    def save(self, path: Path) -> None:
        """Write them into a private folder."""
        held = {"latents": self.latents, "captions": self.captions, "first": self.first}
        save_file({name: value.contiguous() for name, value in held.items()}, path)

    @classmethod
    def load(cls, path: Path) -> "People":
        """What `save` wrote."""
        held = load_file(path)
        return cls(held["latents"], held["captions"], held["first"])

    def rows(self, people: Tensor, draws: Tensor) -> Tensor:
        """An image of each person for each draw.

        Args:
            people: (B,) int64.
            draws: (B, K) float64 in [0, 1): which of a person's images.

        Returns:
            (B, K) int64, rows of `latents`.
        """
        first, count = self.first[people], self.first[people + 1] - self.first[people]
        return first[:, None] + (draws * count[:, None]).long().minimum(count[:, None] - 1)


def bounded(identities: Sequence[str], most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that enter, a person's together and at most so many of each, in an order that tells nothing.

    Which of a person's images enter follows from the seed, the name and their number alone: somebody who joins or leaves
    changes nothing of what others contribute, and privacy loss is counted so.

    Args:
        identities: of N images.
        most: images of a person.
        seed: which of more are taken.

    Returns:
        rows (n,) int64, and (P + 1,) int64, where each person's begin.
    """
    names, number = np.unique(np.asarray(identities), return_inverse=True)
    counts = np.bincount(number, minlength=len(names))
    every = np.split(np.argsort(number, kind="stable"), counts.cumsum()[:-1])
    chosen = []
    for name, own in zip(names.tolist(), every, strict=True):
        rng = np.random.default_rng(derive(seed, "images of a person", name))
        chosen.append(own[rng.permutation(len(own))[:most]])
    first = np.concatenate([[0], np.minimum(counts, most).cumsum()])
    return np.concatenate(chosen).astype(np.int64), first.astype(np.int64)
