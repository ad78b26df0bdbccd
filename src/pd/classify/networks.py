"""Small classifiers by name, their weights a function of a seed."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from pd.errors import UserError

Norm = Literal["instance", "group"]
"""No batch norm: an image's output must not depend on the images that happen to be beside it."""


class ConvNet(nn.Module):
    """The ConvNet-D of the data set condensation literature: D times convolution, norm, ReLU, average pooling.

    Zhao et al., "Dataset Condensation with Gradient Matching" (arXiv 2006.05929), whose default is D = 3, 128 channels and
    instance norm.

    Args:
        classes: outputs.
        channels: of the images.
        side: of the square images, pixels; halved D times, rounding down.
        width: channels of every convolution.
        depth: D.
        norm: `instance` (each channel by itself) or `group` (groups of eight channels; of more
            where eight do not divide the width).
    """

    def __init__(
        self, classes: int, channels: int, side: int, width: int = 128, depth: int = 3, norm: Norm = "instance"
    ) -> None:
        super().__init__()
        if side < 2**depth:
            raise UserError(
                f"images of {side} pixels cannot be halved {depth} times", code="bad-size", where="network", fix="fewer layers"
            )
        layers: list[nn.Module] = []
        for given in (channels, *[width] * (depth - 1)):
            groups = width if norm == "instance" else math.gcd(width, max(1, width // 8))
            layers += [nn.Conv2d(given, width, 3, padding=1), nn.GroupNorm(groups, width), nn.ReLU(), nn.AvgPool2d(2)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(width * (side // 2**depth) ** 2, classes)

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, d), what the last linear layer sees."""
        features: Tensor = self.layers(images).flatten(1)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes) logits."""
        logits: Tensor = self.head(self.embed(images))
        return logits


class FeatureNet(nn.Module):
    """Two layers on features of a frozen network: seconds instead of hours where images are few.

    Args:
        classes: outputs.
        features: width of the input.
        width: of the hidden layer.
    """

    def __init__(self, classes: int, features: int, width: int = 256) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def embed(self, features: Tensor) -> Tensor:
        """(N, d) -> (N, width)."""
        hidden: Tensor = self.hidden(features)
        return hidden

    def forward(self, features: Tensor) -> Tensor:
        """(N, d) -> (N, classes) logits."""
        logits: Tensor = self.head(self.embed(features))
        return logits


def build(shape: tuple[int, ...], classes: int, seed: int, width: int | None = None, norm: Norm = "group") -> nn.Module:
    """A network for inputs of this shape, its weights drawn from `seed` alone.

    Args:
        shape: (C, H, W): a ConvNet; (d,): a FeatureNet.
        classes: outputs.
        seed: of the weights.
        width: channels, or units of the hidden layer; None: the network's default.
        norm: of a ConvNet.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if len(shape) == 1:
            return FeatureNet(classes, shape[0], width or 256)
        depth = min(3, (shape[1]).bit_length() - 2)
        return ConvNet(classes, shape[0], shape[1], width or 128, depth, norm)
