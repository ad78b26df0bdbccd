"""The simplest attacker: correlation of thumbnails. It sees through blur and noise that blind a face recogniser."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from pd.audit.attackers.base import Rows, unit
from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images

SIDE = 16


def thumbnails(pixels: torch.Tensor) -> Rows:
    """(N, C * 16 * 16) float32 of unit length and mean 0, of (N, C, H, W) float32; smaller images keep their size."""
    side = (min(SIDE, pixels.shape[2]), min(SIDE, pixels.shape[3]))
    flat = F.interpolate(pixels, size=side, mode="area").flatten(1).numpy()
    return unit(flat - flat.mean(axis=1, keepdims=True))


class Thumbnails:
    """Plain correlation of 16 x 16 thumbnails (methods: *Blur is not privacy*)."""

    name = "thumbnails"

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Nothing to learn."""

    def embed(self, images: Pixels) -> Rows:
        """(N, d) unit rows."""
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        blocks = [thumbnails(block.float()) for block in torch.split(pixels, 4096)]
        return np.concatenate(blocks)
