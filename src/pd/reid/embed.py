"""Images through a re-identification network, in batches."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pd.dataset.images import to_tensor
from pd.dataset.parquet_images import Images


@torch.inference_mode()
def embed(network: nn.Module, images: Images, batch: int = 256, *, mirror: bool = False) -> NDArray[np.float32]:
    """Embed image arrays where the network's weights are; its training mode is left as it was.

    Args:
        network: (B, 3, H, W) float32 in [-1, 1] -> (B, d).
        images: (N, H, W, C) uint8, in memory or in files.
        batch: images per forward, decoded as they are needed; bounds memory.
        mirror: embed the images with left and right swapped, for a score that a flip does not escape.

    Returns:
        (N, d) float32, rows of unit length.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    rows = []
    for at in range(0, max(len(images), 1), batch):
        part = images[at : at + batch]
        part = part[:, :, ::-1] if mirror else part
        rows.append(network(to_tensor(np.ascontiguousarray(part)).to(device)).cpu().numpy())
    network.train(was_training)
    return np.concatenate(rows)
