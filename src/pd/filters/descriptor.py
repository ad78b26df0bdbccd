"""What an image looks like, to a detector that knows nothing of people: two parts, both blind to brightness and contrast.

- What stands out locally: a difference of Gaussians divided by its local energy (local contrast normalisation,
  Jarrett et al., "What is the best multi-stage architecture for object recognition?", ICCV 2009), so that a strong
  shadow or a dark background cannot dominate the cosine as it does in a plain correlation of pixels.
- Where edges run: histograms of signed gradient orientation in overlapping cells (Dalal & Triggs, "Histograms of
  oriented gradients for human detection", CVPR 2005), which crops, shifts and blur move little.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pd.dataset.parquet_images import Images

SIDE = 24  # pixels: fine enough for a pose, coarse enough that noise and JPEG blocks average out
CONTRASTS = (SIDE // 2) ** 2  # the first numbers of a descriptor: what stands out locally
INNER, OUTER = 1.2, 5.0  # standard deviations of the difference of Gaussians, pixels of SIDE
ORIENTATIONS, CELL, STRIDE = 8, 4, 4
EDGE_WEIGHT = 0.7
_FLAT = 1e-3  # local energy, in units of half the grey range, under which there is nothing to see
_ROUNDING = 1e-4  # a gradient far below one grey level: floating point, not an edge
_BATCH = 256

Pose = tuple[float, float, float]
"""Scale, and shift down and right in parts of the side."""

UPRIGHT: Pose = (1.0, 0.0, 0.0)


@torch.inference_mode()
def describe(images: Images, poses: Sequence[Pose] = (UPRIGHT,)) -> NDArray[np.float32]:
    """Describe images by unit vectors.

    Args:
        images: (N, H, W, C) uint8, in memory or in files.
        poses: each image is described in each of P poses; row i * P + p is image i's in pose p.

    Returns:
        (N * P, d) float32, rows of unit length. The last column is 1 for images without any structure, which so
        resemble each other and nothing else.
    """
    rows = []
    for at in range(0, max(len(images), 1), _BATCH):
        grey = _grey(images[at : at + _BATCH])
        rows.append(torch.stack([_describe(_posed(grey, pose)) for pose in poses], dim=1).flatten(0, 1).numpy())
    return np.concatenate(rows)


def _grey(images: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, C) uint8 to (N, 1, h, w) float32 in [-1, 1], at most 2 * SIDE large."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).float().mean(dim=3).div(127.5).sub(1.0)[:, None]
    if max(pixels.shape[2:]) > 2 * SIDE:
        pixels = _resize(pixels, 2 * SIDE)
    return pixels


def _posed(grey: Tensor, pose: Pose) -> Tensor:
    scale, down, right = pose
    if pose == UPRIGHT:
        return grey
    # affine_grid's coordinates run from -1 to 1, so a shift of the side is twice as many of them.
    theta = torch.tensor([[scale, 0.0, 2 * right], [0.0, scale, 2 * down]]).expand(len(grey), 2, 3)
    grid = F.affine_grid(theta, list(grey.shape), align_corners=False)
    return F.grid_sample(grey, grid, padding_mode="reflection", align_corners=False)


def _describe(grey: Tensor) -> Tensor:
    """(N, 1, h, w) to (N, d) unit rows."""
    small = _resize(grey, SIDE)
    parts = torch.cat([_unit(_standing_out(small)), EDGE_WEIGHT * _unit(_edges(small))], dim=1)
    rows = F.pad(_unit(parts), (0, 1))
    rows[:, -1] = (rows.norm(dim=1) < 0.5).float()
    return rows


def _standing_out(small: Tensor) -> Tensor:
    """Locally normalised difference of Gaussians, (N, SIDE²/4): every second pixel holds all that INNER leaves."""
    band = _blur(small, INNER) - _blur(small, OUTER)
    return (band / _energy(_blur(band.square(), OUTER).sqrt()))[:, :, ::2, ::2].flatten(1)


def _edges(small: Tensor) -> Tensor:
    """Root of gradient-orientation histograms, (N, ORIENTATIONS * cells)."""
    padded = F.pad(_blur(small, INNER), (1, 1, 1, 1), mode="replicate")
    right = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    strength = torch.relu(torch.hypot(right, down) - _ROUNDING)
    bins = torch.arange(ORIENTATIONS).mul(2 * math.pi / ORIENTATIONS).view(1, -1, 1, 1)
    # cos³ shares a gradient smoothly among the bins near its direction, so that a small turn changes little.
    shares = torch.relu(torch.cos(torch.atan2(down, right) - bins)).pow(3) * strength
    return F.avg_pool2d(shares / _energy(_blur(strength, 3.0)), CELL, STRIDE).sqrt().flatten(1)


def _energy(local: Tensor) -> Tensor:
    """Divisor of local normalisation: a quarter of the mean keeps empty background from being blown up to structure."""
    return local + 0.25 * local.mean(dim=(2, 3), keepdim=True) + _FLAT


def _resize(pixels: Tensor, side: int) -> Tensor:
    return F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def _blur(pixels: Tensor, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    taps = torch.exp(-torch.arange(-radius, radius + 1).float().square() / (2 * sigma**2))
    taps = taps / taps.sum()
    padded = F.pad(pixels, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))


def _unit(rows: Tensor) -> Tensor:
    """Rows of unit length; rows that are next to nothing become zero."""
    length = rows.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-2, rows / length.clamp_min(1e-2), torch.zeros_like(rows))
