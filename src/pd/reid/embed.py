"""Images through a re-identification network, in batches."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pd.dataset.images import to_tensor


@torch.inference_mode()
def embed(network: nn.Module, images: NDArray[np.uint8], batch: int = 256, *, mirror: bool = False) -> NDArray[np.float32]:
    """Embed image arrays where the network's weights are; its training mode is left as it was.

    Args:
        network: (B, 3, H, W) float32 in [-1, 1] -> (B, d).
        images: (N, H, W, C) uint8.
        batch: images per forward; bounds memory.
        mirror: embed the images with left and right swapped, for a score that a flip does not escape.

    Returns:
        (N, d) float32, rows of unit length.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    if mirror:
        images = images[:, :, ::-1]
    rows = [
        network(to_tensor(np.ascontiguousarray(images[at : at + batch])).to(device)).cpu().numpy()
        for at in range(0, max(len(images), 1), batch)
    ]
    network.train(was_training)
    return np.concatenate(rows)
