"""Random views of images: weak ones, which a teacher labels, and strong ones, which a student learns from.

Semi-ViT uses random crops and flips as weak views and RandAugment as strong ones. Here strong views are affine changes,
brightness, contrast and a hole (ours): small pictures bear less than RandAugment gives. Every view is a function of numbers
that are drawn for the global batch, so that it is the same on any number of ranks.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NUMBERS = 10  # that a view is made from
SHIFT = 1 / 8  # of the side, most that a view is moved; ours
DEGREES, SHEAR, ZOOM = 10.0, 0.075, 0.1  # ours; twice as much costs a small transformer 6 points (benchmarks/RESULTS.md)
LIGHT = 0.2  # of brightness and contrast; ours
HOLE = 0.3  # of the side, the largest hole; ours


def draw(seed: int, count: int) -> Tensor:
    """(count, NUMBERS) uniform numbers in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, NUMBERS, generator=generator)


def weak(images: Tensor, numbers: Tensor, *, flip: bool = True) -> Tensor:
    """Moved by at most an eighth of the side, edges repeated, and mirrored at random.

    Args:
        images: (n, C, S, S).
        numbers: (n, NUMBERS).
        flip: whether they are mirrored.
    """
    side, device = images.shape[-1], images.device
    most = int(side * SHIFT)
    moved = ((numbers[:, :2] * (2 * most + 1)).floor() - most).long()
    line = torch.arange(side, device=device)
    rows = (line[None] + moved[:, :1]).clamp(0, side - 1)
    columns = (line[None] + moved[:, 1:]).clamp(0, side - 1)
    if flip:
        columns = torch.where(numbers[:, 2:3] < 0.5, columns.flip(1), columns)
    at = torch.arange(len(images), device=device)[:, None, None]
    return images.permute(0, 2, 3, 1)[at, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def strong(images: Tensor, numbers: Tensor, *, flip: bool = True) -> Tensor:
    """Turned, sheared, zoomed, moved and mirrored at random, with other light and a grey hole."""
    side = images.shape[-1]
    centred = 2 * numbers - 1
    angle = centred[:, 0] * math.radians(DEGREES)
    zoom = 1 + ZOOM * centred[:, 1]
    mirror = torch.where(numbers[:, 2] < 0.5, -1.0, 1.0) if flip else torch.ones_like(angle)
    shear, right, down = SHEAR * centred[:, 3], SHIFT * centred[:, 4], SHIFT * centred[:, 5]
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack([torch.stack([cos * mirror, shear - sin, right], 1), torch.stack([sin * mirror, cos, down], 1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    seen = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    column = [-1, 1, 1, 1]
    level = seen.mean((1, 2, 3), keepdim=True)
    seen = (seen - level) * (1 + LIGHT * centred[:, 6].view(column)) + level + LIGHT * centred[:, 7].view(column)
    line = torch.arange(side, device=images.device)
    half = HOLE * side / 2 * numbers[:, 7:8]
    tall = (line[None] - numbers[:, 8:9] * side).abs() < half
    wide = (line[None] - numbers[:, 9:10] * side).abs() < half
    hole = (tall[:, :, None] & wide[:, None, :])[:, None]
    return torch.where(hole, 0.0, seen.clamp(-1, 1))
