"""Metric learning on identities, with augmented copies as positives (methods, step 3)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pd.config import ReidSettings
from pd.dataset.images import to_tensor
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.reid.augment import augment
from pd.reid.network import EmbeddingNetwork, build

_TEMPERATURE = 0.1
_WEIGHT_DECAY = 0.05
_WARMUP = 0.05


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
    """Train any embedding network in place with the supervised contrastive loss; it is left in evaluation mode.

    A batch is identities x views. The views of an identity are of as many of its images as fill half of them, and then of
    the same images again under another augmentation: so every view has a copy of its own image among its positives, and an
    identity with a single image learns from its copies alone.

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
        UserError: fewer than two identities.
    """
    _, who = np.unique(np.asarray(identities, dtype=str), return_inverse=True)
    people = [np.flatnonzero(who == k) for k in range(who.max() + 1 if len(who) else 0)]
    if len(people) < 2:
        raise UserError(
            f"{len(people)} identities to learn from", where="re-identification", fix="give images of two people or more"
        )
    weights = [p for p in network.parameters() if p.requires_grad]
    device = weights[0].device
    optimiser = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    warmup = max(1, round(_WARMUP * steps))
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimiser,
        [
            torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warmup, total_iters=warmup),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps - warmup), eta_min=0.01 * learning_rate),
        ],
        [warmup],
    )
    chance = np.random.default_rng([seed, 1])
    generator = torch.Generator().manual_seed(seed)
    network.train()
    for step in range(steps):
        rows = _batch(people, chance, identities_per_batch, images_per_identity)
        # Grey is repeated to three channels after the augmentation, which costs a third of the work that way.
        pictures = to_tensor(images[rows])[:, : images.shape[3]].to(device)
        views = augment(pictures, generator).expand(-1, 3, -1, -1)
        loss = supervised_contrastive(network(views), torch.from_numpy(who[rows]).to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        progress(step + 1, steps, {"loss": loss.item()})
    network.eval()


def supervised_contrastive(embeddings: Tensor, who: Tensor, temperature: float = _TEMPERATURE) -> Tensor:
    """L_out of Khosla et al., "Supervised Contrastive Learning" (arXiv 2004.11362, eq. 2), as a scalar.

    Args:
        embeddings: (B, d) rows of unit length.
        who: (B,) integer identity of each row; a row alone of its identity does not count.
        temperature: divides the cosines.
    """
    own = torch.eye(len(who), dtype=torch.bool, device=who.device)
    logits = (embeddings @ embeddings.T / temperature).masked_fill(own, -torch.inf)
    log_share = logits - logits.logsumexp(1, keepdim=True)
    positive = (who[:, None] == who[None]) & ~own
    count = positive.sum(1)
    anchors = count > 0
    mean = log_share.masked_fill(~positive, 0.0).sum(1)[anchors] / count[anchors]
    return -mean.mean()


def _batch(people: list[NDArray[np.int64]], chance: np.random.Generator, identities: int, views: int) -> NDArray[np.int64]:
    """Rows of one batch: each identity's images repeated in turn until there are `views` of them."""
    picked = chance.choice(len(people), min(identities, len(people)), replace=False)
    rows = []
    for k in picked:
        own = chance.permutation(people[k])[: -(-views // 2)]
        rows.append(np.resize(own, views))
    return np.concatenate(rows)
