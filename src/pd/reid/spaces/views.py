"""Augmented views to learn a space from: blurred, noisy, low-resolution, moved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pd.dataset.images import Pixels, to_tensor
from pd.dataset.parquet_images import Images, blocks
from pd.reid.augment import augment

VIEWS_PER_STEP = 8
_MOST_VIEWS = 8  # of one image
_BYTES = 16 << 20  # of pixels augmented at a time; as float32 they are four times as many, and more while it lasts


@dataclass(frozen=True, eq=False)
class Views:
    """Pictures made of images: these as they are, then views of each. They are made as they are asked for, never held together.

    Attributes:
        images: (n, H, W, C) uint8, the images chosen.
        each: views of each.
        longest: px of a side; larger images are reduced before they are augmented. None: they are not.
        people: (n * (each + 1),) int64, who is in each picture.
        seed: of the augmentation.
    """

    images: Pixels
    each: int
    people: npt.NDArray[np.int64]
    seed: int
    longest: int | None = None

    def __len__(self) -> int:
        return len(self.people)

    def batches(self, size: int) -> Iterator[Tensor]:
        """All pictures in order, (size, 3, H, W) float32 in [-1, 1]; the last batch may be smaller."""
        waiting: list[Tensor] = []
        held = 0
        for part in self._parts():
            waiting.append(part)
            held += len(part)
            if held >= size:
                whole = torch.cat(waiting)
                cut = held // size * size
                yield from torch.split(whole[:cut], size)
                waiting, held = [whole[cut:]], held - cut
        if held:
            yield torch.cat(waiting)

    def _parts(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        for view in range(self.each + 1):
            for _, block in blocks(self.images, _BYTES):
                plain = to_tensor(block) if self.longest is None else _reduced(to_tensor(block), self.longest)
                yield augment(plain, generator) if view else plain


def views(images: Images, identities: Sequence[str], *, seed: int, steps: int, longest: int | None = None) -> Views:
    """The images as they are and views of each, at most 12 * steps pictures in all.

    Args:
        images: (N, H, W, C) uint8, in memory or in files; where there are more than 4 * steps, as many are chosen by the seed.
        identities: N names.
        seed: of choice and augmentation.
        steps: 8 views a step.
        longest: as of `Views`.
    """
    order = np.random.default_rng(seed).permutation(len(images))[: most_images(steps)]
    each = int(np.clip(VIEWS_PER_STEP * steps // len(order), 1, _MOST_VIEWS))
    who = np.unique(np.asarray(identities, dtype=str), return_inverse=True)[1]
    return Views(images[order], each, np.tile(who[order], each + 1), seed, longest)


def most_images(steps: int) -> int:
    """How many images `views` chooses at most."""
    return max(4 * steps, 2)


def most_pictures(steps: int) -> int:
    """How many pictures `views` makes at most, chosen images included."""
    return most_images(steps) + VIEWS_PER_STEP * steps


def _reduced(images: Tensor, longest: int) -> Tensor:
    """(N, C, H, W) with sides of so much at most, by area; smaller images as they are."""
    height, width = images.shape[2:]
    if max(height, width) <= longest:
        return images
    return F.interpolate(images, (min(height, longest), min(width, longest)), mode="area")
