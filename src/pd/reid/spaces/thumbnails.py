"""Thumbnails: what a coarse look at a picture sees, and what blur and noise leave of it."""

import torch
import torch.nn.functional as F

from pd.reid.spaces.whitening import Rows, unit

SIDE = 16


def thumbnails(pixels: torch.Tensor) -> Rows:
    """(N, C * 16 * 16) float32 of unit length and mean 0, of (N, C, H, W) float32; smaller images keep their size."""
    side = (min(SIDE, pixels.shape[2]), min(SIDE, pixels.shape[3]))
    flat = F.interpolate(pixels, size=side, mode="area").flatten(1).numpy()
    return unit(flat - flat.mean(axis=1, keepdims=True))
