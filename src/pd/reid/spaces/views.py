"""Augmented views to learn a space from: blurred, noisy, low-resolution, moved."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pd.dataset.images import Pixels, to_tensor
from pd.reid.augment import augment

VIEWS_PER_STEP = 8
_MOST_VIEWS = 8  # of one image


def views(images: Pixels, identities: Sequence[str], *, seed: int, steps: int) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """The images as they are and views of each, at most 12 * steps pictures in all.

    Args:
        images: (N, H, W, C) uint8; where there are more than 4 * steps, as many are chosen by the seed.
        identities: N names.
        seed: of choice and augmentation.
        steps: 8 views a step.

    Returns:
        (V, 3, H, W) float32 in [-1, 1] and (V,) int64, who is in each.
    """
    most = max(4 * steps, 2)
    order = np.random.default_rng(seed).permutation(len(images))[:most]
    generator = torch.Generator().manual_seed(seed)
    plain = to_tensor(images[order])
    each = int(np.clip(VIEWS_PER_STEP * steps // len(order), 1, _MOST_VIEWS))
    pictures = torch.cat([plain, *(augment(plain, generator) for _ in range(each))])
    return pictures, np.tile(np.unique(np.asarray(identities, dtype=str), return_inverse=True)[1][order], each + 1)
