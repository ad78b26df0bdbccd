"""The simplest attacker: correlation of thumbnails. It sees through blur and noise that blind a face recogniser."""

from collections.abc import Sequence

import numpy as np
import torch

from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images
from pd.reid.spaces.thumbnails import thumbnails
from pd.reid.spaces.whitening import Rows


class Thumbnails:
    """Plain correlation of 16 x 16 thumbnails (methods: *Blur is not privacy*)."""

    name = "thumbnails"
    travels = True  # to workers

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Nothing to learn."""

    def embed(self, images: Pixels) -> Rows:
        """(N, d) unit rows."""
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        blocks = [thumbnails(block.float()) for block in torch.split(pixels, 4096)]
        return np.concatenate(blocks)
