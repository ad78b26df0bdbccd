"""Leaks that are planted on purpose, to see whether a filter catches them."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from pd.config.recognisers import resolution_of
from pd.dataset.images import Mode, Pixels, from_tensor, to_tensor
from pd.dataset.parquet_images import Images, blocks
from pd.reid.augment import blur, jpeg, move, noise, tone
from pd.reid.views import seen
from pd.seeds import derive

KINDS = ("member", "jittered", "round_trip", "other_photo")
"""Member images themselves; jittered copies; through an autoencoder and back; photos of members that the
gallery does not hold."""


VIEWS: Mapping[str, str] = {
    **{f"{side}x{side}": f"{side}x{side}" for side in (8, 12, 16)},
    "half hidden": "half hidden",
    "masked": "masked",
    "shifted contrast": "low contrast",
    "shifted blur": "blurred",
    "shifted noise": "noisy",
}
"""Further kinds: members as a recogniser that distils learns to see them -> the view of `pd.reid.views`."""


def in_views(images: Pixels, seed: int) -> dict[str, Pixels]:
    """Kind of VIEWS -> (N, H, W, C) uint8; without resolutions that these images do not exceed."""
    side = min(images.shape[1:3])
    kinds = {kind: view for kind, view in VIEWS.items() if (resolution_of(view) or 0) < side}
    return {kind: seen(images, view, derive(seed, "view", view)) for kind, view in kinds.items()}


_BYTES = 16 << 20  # of copies made at a time; as float32 they are four times as many, and more while it lasts


def jittered_parts(images: Images, times: int, mode: Mode, seed: int) -> Iterator[Pixels]:
    """What `jittered` gives, a part of the images after the other: each part's copies follow from the seed and its place."""
    for rows, block in blocks(images, _BYTES // times):
        yield _jittered(block, times, mode, derive(seed, rows.start) if rows.start else seed)


def jittered(images: Images, times: int, mode: Mode, seed: int) -> Pixels:
    """So many copies of each image: cropped, mirrored, toned, blurred, made noisy and compressed, all at once.

    Args:
        images: (N, H, W, C) uint8, in memory or in files.
        times: copies of each.
        mode: the images' own.
        seed: of all chance in it.

    Returns:
        (N * times, H, W, C) uint8; the copies of image i begin at i * times.
    """
    return np.concatenate(list(jittered_parts(images, times, mode, seed)))


def _jittered(images: Pixels, times: int, mode: Mode, seed: int) -> Pixels:
    copies = to_tensor(np.repeat(images, times, axis=0))
    chance = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(len(copies), generator=chance)

    x = move(
        copies,
        degrees=uniform(-5, 5),
        scale=uniform(0.9, 1.0),
        shift=torch.stack([uniform(-0.05, 0.05), uniform(-0.05, 0.05)], 1),
        mirror=uniform(0, 1) < 0.5,
    )
    x = tone(x, brightness=uniform(-0.15, 0.15), contrast=uniform(0.85, 1.15))
    x = blur(x, sigma=uniform(0.0, 1 / 32) * copies.shape[-1])
    x = noise(x, sigma=uniform(0.0, 0.1), generator=chance)
    return from_tensor(jpeg(x, quality=uniform(50, 95)), mode)
