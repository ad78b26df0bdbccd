"""Pixel distance that no part of a picture escapes: the largest root mean square difference over 4 x 4 tiles.

Carlini et al. 2023 (arXiv 2301.13188, section 4.2) take the largest over tiles because two pictures of much plain background
are near in plain L2 whatever they show. It is a norm, so the triangle inequality holds.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from pd.audit.nearest import Similarity
from pd.dataset.parquet_images import Images, blocks

_TILES = 4  # a side
_BYTES = 16 << 20  # of pixels at a time; as float32 they are four times as many
_SIDE = 32  # pixels that larger pictures are averaged down to: a copy is a copy at this size, too

Tiles = npt.NDArray[np.float32]


def tiles(images: Images) -> Tiles:
    """(N, H, W, C) uint8 to (N, 16, t) float32, on a scale where black and white are 1 apart."""
    side = max(min(_SIDE, *images.shape[1:3]) // _TILES, 1)
    parts = []
    for _, block in blocks(images, _BYTES):
        pixels = torch.from_numpy(np.ascontiguousarray(block.transpose(0, 3, 1, 2))).float() / 255
        small = F.interpolate(pixels, size=(side * _TILES, side * _TILES), mode="area")
        cut = small.view(*small.shape[:2], _TILES, side, _TILES, side)
        flat = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        parts.append((flat / flat.shape[2] ** 0.5).numpy())
    return np.concatenate(parts)


def likeness(some: Tiles, others: Tiles) -> Similarity:
    """(N, M) float32: minus the distance of each pair, 0 for equal pictures."""
    square = np.zeros((len(some), len(others)), np.float32)
    for tile in range(some.shape[1]):
        a, b = some[:, tile], others[:, tile]
        apart = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * (a @ b.T)
        np.maximum(square, apart, out=square)
    return -np.sqrt(square)
