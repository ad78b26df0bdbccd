"""Train an embedding network in this process, without files (methods, step 3)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pd.config import ReidSettings
from pd.config.training import TrainingSettings
from pd.progress import Progress, silent
from pd.reid.network import EmbeddingNetwork, build
from pd.reid.rows import Held
from pd.reid.task import WARMUP, WEIGHT_DECAY, Contrast
from pd.training.loop import fit_module
from pd.training.task import Alone, Facts


def train(
    images: NDArray[np.uint8],
    identities: Sequence[str],
    settings: ReidSettings,
    seed: int,
    progress: Progress = silent,
    device: str = "cpu",
) -> EmbeddingNetwork:
    """A re-identification network trained on these people; the same arguments give the same weights.

    Args:
        images: (N, H, W, C) uint8, C = 1 or 3.
        identities: N names.
        settings: backbone, steps and batch.
        seed: new weights, batches and augmentations follow from it.
        progress: called after each step.
        device: where to train; the network stays there.

    Raises:
        UserError: fewer than two identities, or what `build` refuses.
    """
    network = build(settings, seed).to(device)
    fit(
        network,
        images,
        identities,
        steps=settings.steps,
        seed=seed,
        learning_rate=settings.learning_rate,
        identities_per_batch=settings.identities_per_batch,
        images_per_identity=settings.images_per_identity,
        progress=progress,
    )
    return network


def fit(
    network: nn.Module,
    images: NDArray[np.uint8],
    identities: Sequence[str],
    *,
    steps: int,
    seed: int,
    learning_rate: float = 2e-3,
    identities_per_batch: int = 16,
    images_per_identity: int = 4,
    progress: Progress = silent,
) -> None:
    """Train any embedding network in place, as `pd.reid.task.Contrast` says; it is left in evaluation mode.

    Args:
        network: (B, 3, H, W) float32 in [-1, 1] -> (B, d) rows of unit length; trained where its weights are.
        images: (N, H, W, C) uint8.
        identities: N names.
        steps: optimiser steps.
        seed: batches and augmentations follow from it.
        learning_rate: peak of a cosine schedule with warm-up, AdamW.
        identities_per_batch: at most; all of them when there are fewer.
        images_per_identity: views of each identity, at least 2.
        progress: called after each step.

    Raises:
        UserError: fewer than two identities, or the training diverged.
    """
    task = _Given(network, images, identities, seed, identities_per_batch, images_per_identity)
    settings = TrainingSettings(steps=steps, learning_rate=learning_rate, weight_decay=WEIGHT_DECAY, warmup=WARMUP)
    device = next(weight.device for weight in network.parameters())
    fit_module(task, settings, None, progress, Alone(torch.device(device)))


class _Given(Contrast):
    """A network that is there already."""

    def __init__(
        self,
        network: nn.Module,
        images: NDArray[np.uint8],
        identities: Sequence[str],
        seed: int,
        identities_per_batch: int,
        images_per_identity: int,
    ) -> None:
        super().__init__(Held(images), identities, seed, identities_per_batch, images_per_identity)
        self._network = network

    def build(self) -> nn.Module:
        return self._network

    def export(self, module: nn.Module, folder: Path) -> Facts:
        """Nothing: whoever gave the network has it."""
        return {}
