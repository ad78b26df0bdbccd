"""Networks that condensing looks through, and that learn from what is condensed; pictures in [0, 1] come in."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pd.classify import networks

Architecture = Literal["convnet", "resnet"]


class ResNet(nn.Module):
    """A small residual network with group norm, the second opinion on condensed pictures (ours).

    Args:
        classes: outputs.
        channels: of the pictures.
        width: channels of the first block; doubled twice.
    """

    def __init__(self, classes: int, channels: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList([_Block(width, width), _Block(width, 2 * width), _Block(2 * width, 4 * width)])
        self.head = nn.Linear(4 * width, classes)

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 4 width)."""
        found: Tensor = self.stem(images)
        for block in self.blocks:
            found = block(found)
        return found.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes) logits."""
        logits: Tensor = self.head(self.embed(images))
        return logits


class _Block(nn.Module):
    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(given, made, 3, 2, 1), nn.Conv2d(made, made, 3, 1, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, made), nn.GroupNorm(8, made)])
        self.past = nn.Conv2d(given, made, 1, 2)

    def forward(self, images: Tensor) -> Tensor:
        found = F.relu(self.norms[0](self.first(images)))
        return F.relu(self.norms[1](self.second(found)) + self.past(images))


def build(architecture: Architecture, classes: int, channels: int, side: int, width: int, seed: int) -> nn.Module:
    """A network whose weights are a function of `seed`.

    Args:
        architecture: convnet: ConvNet-3 with instance norm (arXiv 2006.05929); resnet: a small residual network.
        classes: outputs.
        channels: of the pictures.
        side: of the pictures, pixels.
        width: channels of a ConvNet's convolutions; a quarter of it are the ResNet's first.
        seed: of the weights.
    """
    if architecture == "convnet":
        return networks.build((channels, side, side), classes, seed, width, "instance")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet(classes, channels, max(8, width // 32 * 8))


def in_units(pictures: Tensor) -> Tensor:
    """(N, S, S, C) uint8 -> (N, C, S, S) float32 in [0, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def prepared(images: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Pictures in [0, 1] as networks take them: each channel with the data's mean 0 and deviation 1."""
    return (images - mean.view(1, -1, 1, 1)) / deviation.view(1, -1, 1, 1)
