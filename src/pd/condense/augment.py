"""One differentiable change of all pictures of a step alike, real and condensed.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation" (arXiv 2102.08259). A step draws one kind of
change and its strength, and applies it to every picture, so that what is compared differs in nothing else.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("brightness", "saturation", "contrast", "crop", "cutout", "flip", "scale", "rotate")
SHIFT = 0.125  # of the side, most that a crop moves a picture
HOLE = 0.5  # of the side, a cutout's
SCALE = 1.2  # most that a picture grows, or shrinks, along an axis
DEGREES = 15.0


@dataclass(frozen=True)
class Change:
    """One change: of which kind, and three numbers in [0, 1) that say how strong and where."""

    kind: str
    a: float
    b: float
    c: float


def draw(generator: torch.Generator) -> Change:
    """A change, from a generator alone."""
    kind = KINDS[int(torch.randint(len(KINDS), (), generator=generator))]
    a, b, c = torch.rand(3, generator=generator).tolist()
    return Change(kind, a, b, c)


def apply(images: Tensor, change: Change) -> Tensor:
    """The changed pictures, (N, C, H, W), differentiable with respect to them."""
    kind, a, b, side = change.kind, change.a, change.b, images.shape[-1]
    if kind == "brightness":
        return images + (a - 0.5)
    if kind == "saturation":
        grey = images.mean(1, keepdim=True)
        return (images - grey) * (2 * a) + grey
    if kind == "contrast":
        level = images.mean((1, 2, 3), keepdim=True)
        return (images - level) * (a + 0.5) + level
    if kind == "cutout":
        hole = int(side * HOLE + 0.5)
        top, left = (int(share * (side + 1)) - hole // 2 for share in (a, b))
        mask = images.new_ones(images.shape[-2:])
        mask[max(top, 0) : top + hole, max(left, 0) : left + hole] = 0
        return images * mask
    if kind == "flip":
        return images.flip(3) if a < 0.5 else images
    if kind == "crop":
        most = int(side * SHIFT + 0.5)
        down, right = (int(share * (2 * most + 1)) for share in (a, b))
        return F.pad(images, [most] * 4)[:, :, down : down + side, right : right + side]
    if kind == "scale":
        tall, wide = (SCALE ** (2 * share - 1) for share in (a, b))
        return _warp(images, [[wide, 0.0, 0.0], [0.0, tall, 0.0]])
    angle = math.radians((2 * a - 1) * DEGREES)
    return _warp(images, [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])


def _warp(images: Tensor, rows: list[list[float]]) -> Tensor:
    theta = images.new_tensor(rows).expand(len(images), 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, align_corners=True)
