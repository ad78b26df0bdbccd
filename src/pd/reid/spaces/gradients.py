"""Histograms of oriented gradients: edges and where they are, without light, colour or any network.

Dalal and Triggs, "Histograms of oriented gradients for human detection" (CVPR 2005): 9 orientations without sign, votes
weighed by the gradient's length, blocks of 2 x 2 cells normalised. Images are low-passed first (ours): a generator's noise has
gradients, too.
"""

import math

import torch
import torch.nn.functional as F

from pd.reid.augment import blur
from pd.reid.spaces.whitening import Rows, unit

_SIDE, _CELL, _ORIENTATIONS = 32, 4, 9
_BLUR = 1 / 32  # of the side; ours


def gradients(pixels: torch.Tensor) -> Rows:
    """(N, 7 * 7 * 4 * 9) float32 of unit length, of (N, C, H, W) float32 in [-1, 1], brought to 32 x 32 and to grey."""
    grey = pixels.mean(1, keepdim=True)
    soft = blur(grey, sigma=torch.full((len(grey),), _BLUR * grey.shape[-1], device=grey.device))
    small = F.interpolate(soft, size=(_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False)
    padded = F.pad(small, (1, 1, 1, 1), mode="replicate")
    across, down = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    length = torch.sqrt(across**2 + down**2)
    # Each pixel's vote is shared between the two nearest orientations.
    angle = torch.remainder(torch.atan2(down, across), math.pi) * (_ORIENTATIONS / math.pi)
    low = angle.floor()
    part, at = angle - low, low.long() % _ORIENTATIONS
    votes = torch.zeros(len(grey), _ORIENTATIONS, _SIDE, _SIDE, device=grey.device)
    votes.scatter_add_(1, at, length * (1 - part))
    votes.scatter_add_(1, (at + 1) % _ORIENTATIONS, length * part)
    cells = F.avg_pool2d(votes, _CELL)
    blocks = torch.cat([cells[..., i : i + 7, j : j + 7] for i in (0, 1) for j in (0, 1)], dim=1)
    blocks = blocks / (blocks.norm(dim=1, keepdim=True) + 1e-3)
    return unit(blocks.flatten(1).cpu().numpy())
