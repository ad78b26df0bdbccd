"""A space in which pictures of one person lie together, learned from people whom no generator has seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pd.dataset.images import Pixels, to_tensor
from pd.errors import UserError
from pd.reid.spaces.gradients import gradients
from pd.reid.spaces.imagenet import middle
from pd.reid.spaces.thumbnails import thumbnails
from pd.reid.spaces.views import views
from pd.reid.spaces.whitening import Rows, Whitening

FEATURES: Mapping[str, Callable[[Tensor], Rows]] = {"whitened": thumbnails, "imagenet": middle, "gradients": gradients}
"""What each space projects: (N, 3, H, W) float32 in [-1, 1] -> (N, d) float32. Grey images have three equal channels."""

STEPS = 200  # of `views`: at most 2,400 pictures; ours
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Space:
    """Features and the projection learned on them.

    Attributes:
        kind: of FEATURES.
        whitening: mutes what changes within a person's pictures.
    """

    kind: str
    whitening: Whitening

    @classmethod
    def learn(cls, kind: str, images: Pixels, identities: Sequence[str], *, seed: int, steps: int = STEPS) -> Self:
        """Learn the projection from augmented views.

        Args:
            kind: of FEATURES.
            images: (N, H, W, C) uint8, of people whom neither a generator nor the filter's networks learned from.
            identities: N names.
            seed: of the views.
            steps: how many views (see `pd.reid.spaces.views`).

        Raises:
            UserError: there is no image to learn from.
        """
        return cls(kind, Whitening.learn(*taught_rows(kind, images, identities, seed=seed, steps=steps)))

    def embed(self, images: Pixels) -> Rows:
        """(N, k) float32 rows of unit length of (N, H, W, C) uint8; an inner product is the likeness."""
        return self.whitening.apply(features(self.kind, images))


def taught_rows(
    kind: str, images: Pixels, identities: Sequence[str], *, seed: int, steps: int = STEPS
) -> tuple[Rows, npt.NDArray[np.int64]]:
    """What a space of this kind learns from: (V, d) float32 features of augmented views, and who is in each, (V,).

    People are numbered in the order of their names. Arguments and errors are those of `Space.learn`.
    """
    if not len(images):
        raise UserError(f"no image to learn '{kind}' from", where="data.holdout", fix="hold out more people")
    pictures, people = views(images, identities, seed=seed, steps=steps)
    return np.concatenate([FEATURES[kind](block) for block in torch.split(pictures, _BLOCK)]), people


def features(kind: str, images: Pixels) -> Rows:
    """(N, d) float32, what a space of this kind projects, of (N, H, W, C) uint8."""
    blocks = [to_tensor(np.ascontiguousarray(images[at : at + _BLOCK])) for at in range(0, max(len(images), 1), _BLOCK)]
    if len(images):
        return np.concatenate([FEATURES[kind](block) for block in blocks])
    side = np.zeros((1, *images.shape[1:]), np.uint8)  # for the number of columns
    return FEATURES[kind](to_tensor(side))[:0]
