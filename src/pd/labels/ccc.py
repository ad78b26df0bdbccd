"""Coupled Confusion Correction: two networks correct each other's annotator matrices.

"Coupled Confusion Correction: Learning from Crowds with Sparse Annotations" (arXiv 2312.07331). Re-implemented from its
description:

* two networks, each a CrowdLayer (`pd.labels.crowd_layer`) with matrices of its own; for `warmup` steps they train as that;
* then, at the start of every epoch, annotators are put into groups of alike matrices (k-means), and each network distils a
  meta set: in each class the images of least loss, with the class it predicts;
* in every step a correction V_g of each group's matrices is learned for one network on the *other* network's meta set, by one
  bi-level step: theta' = theta - a dL(theta; W + V)/dtheta at V = 0, V = -b dL_meta(theta')/dV; the step then taken uses W + V;
* the labels are the mean of both networks.

The derivative of L_meta by V is exact and needs no graph of second order: with g = dL_meta/dtheta at theta',
dL_meta/dV = -a d/dV <dL(theta; W + V)/dtheta, g>; the inner product is the derivative of L along g, which forward mode gives.

The paper's step sizes and sizes of the meta set and groups are not at hand: those here are ours. Each network sees the images
in an order of its own (ours), so that their errors differ and the mean is better than either.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp

from pd.classify.inputs import Inputs, shape, tensor
from pd.classify.networks import build
from pd.classify.task import predict, save_classifier
from pd.config import digest_of
from pd.config.training import TrainingSettings
from pd.labels.crowd_layer import Crowd, VotesByImage, confusions, crowd_optimiser, digest_of_votes, votes_loss
from pd.labels.votes import Votes
from pd.training.task import Batch, Facts, Ranks, Task

VIRTUAL_RATE = 0.1  # a, ours
CORRECTION_RATE = 1.0  # b, ours
META_PER_CLASS = 64  # ours
META_BATCH = 64  # ours
GROUPS = 5  # ours
_VOTES = 1 << 16  # looked at together, so that memory stays bounded

Which = Literal["other", "own"]


class Coupled(nn.Module):
    """The two networks, `networks.0` and `networks.1`."""

    def __init__(self, first: Crowd, second: Crowd) -> None:
        super().__init__()
        self.networks = nn.ModuleList([first, second])

    def each(self) -> Iterator[tuple[int, Crowd]]:
        """Both, with their numbers."""
        for k, network in enumerate(self.networks):
            assert isinstance(network, Crowd)
            yield k, network


def _coupled(module: nn.Module) -> Coupled:
    assert isinstance(module, Coupled)
    return module


class CccTask(Task):
    """Trains a `Coupled`.

    Args:
        inputs: the images, in the order of `votes.images`.
        votes: of the annotators.
        seed: weights, batches and meta sets follow from it.
        warmup: steps as CrowdLayer, rounded up to whole epochs.
        steps: of the training, of which at most half are warm-up; None: not known, and not limited.
        batch: images a step.
        width: of the networks; None: their default.
        groups: of annotators; 1: one correction for all.
        meta: whose meta set corrects a network: the other's (the paper) or its own (an ablation).
        digest: of the inputs' content, for `key`.
    """

    def __init__(
        self,
        inputs: Inputs,
        votes: Votes,
        *,
        seed: int,
        warmup: int,
        steps: int | None = None,
        batch: int = 128,
        width: int | None = None,
        groups: int = GROUPS,
        meta: Which = "other",
        digest: str = "",
    ) -> None:
        self.inputs, self.votes, self.seed, self.size, self.width = inputs, votes, seed, batch, width
        self.groups, self.meta = min(groups, len(votes.annotators)), meta
        self.by_image = VotesByImage(votes)
        self.epoch = max(1, len(self.by_image.voted) // min(batch, len(self.by_image.voted)))
        self.warmup = -(-warmup // self.epoch) * self.epoch
        if steps is not None:
            self.warmup = min(self.warmup, max(1, steps // 2))
        self.key = digest_of(["ccc", digest, digest_of_votes(votes), seed, self.warmup, batch, width, groups, meta])
        # What an epoch works with: groups of annotators, (2, A), and meta sets, images and classes, (2, C * META_PER_CLASS).
        self.group = torch.zeros(2, len(votes.annotators), dtype=torch.int64)
        self.meta_image = torch.zeros(2, len(votes.classes) * META_PER_CLASS, dtype=torch.int64)
        self.meta_class = torch.zeros_like(self.meta_image)

    def build(self) -> nn.Module:
        classes = len(self.votes.classes)
        first, second = (build(shape(self.inputs), classes, self.seed + k, self.width) for k in range(2))
        annotators = len(self.votes.annotators)
        return Coupled(Crowd(first, annotators, classes), Crowd(second, annotators, classes))

    def batch(self, step: int, rank: int, world: int) -> Batch:
        found: dict[str, Tensor] = {}
        for k in range(2):
            own = self.by_image.share(self.inputs, self.seed + k, step, self.size, rank, world)
            found |= {f"{name}_{k}": value for name, value in own.items()}
            if step >= self.warmup:
                source = k if self.meta == "own" else 1 - k
                drawn = torch.from_numpy(np.random.default_rng([self.seed, 2, step, k]).permutation(self.meta_image.shape[1]))
                image = self.meta_image[source, drawn[:META_BATCH]]
                found[f"meta_inputs_{k}"] = tensor(self.inputs, image.numpy())
                found[f"meta_class_{k}"] = self.meta_class[source, drawn[:META_BATCH]]
        return found

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        losses = []
        for k, crowd in _coupled(module).each():
            own = of_network(batch, k)
            offset = torch.zeros_like(crowd.matrices)
            if step >= self.warmup:
                group = self.group[k].to(offset.device)
                offset = correction(crowd, own, group, self.groups, own["meta_inputs"], own["meta_class"], ranks)[group]
            losses.append(votes_loss(crowd.classifier(own["inputs"]), crowd.matrices + offset, own))
        return {"loss": losses[0] + losses[1]}

    def after_step(self, module: nn.Module, step: int) -> None:
        """At the end of the warm-up and of every epoch after it: groups and meta sets of the next."""
        if step + 1 != self.warmup and (step + 1 < self.warmup or (step + 1) % self.epoch):
            return
        for k, crowd in _coupled(module).each():
            found = confusions(crowd.matrices.detach()).cpu().numpy()
            self.group[k] = torch.from_numpy(grouped(found, self.groups, self.seed))
            rows, chosen = distilled(predict(crowd.classifier, self.inputs), self.by_image, found)
            self.meta_image[k], self.meta_class[k] = torch.from_numpy(rows), torch.from_numpy(chosen)
            crowd.classifier.train()

    def extra_state(self) -> Mapping[str, Tensor]:
        return {"group": self.group, "meta_image": self.meta_image, "meta_class": self.meta_class}

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        self.group, self.meta_image, self.meta_class = state["group"], state["meta_image"], state["meta_class"]

    def optimiser(self, module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
        return crowd_optimiser(module, settings)

    def export(self, module: nn.Module, folder: Path) -> Facts:
        from safetensors.torch import save_file

        both = [predict(crowd.classifier, self.inputs) for _, crowd in _coupled(module).each()]
        matrices = torch.stack([confusions(crowd.matrices.detach()).cpu() for _, crowd in _coupled(module).each()]).mean(0)
        held = {"probabilities": torch.from_numpy(np.mean(both, axis=0)), "confusions": matrices.contiguous()}
        save_file(held, folder / "labels.safetensors")
        for k, crowd in _coupled(module).each():
            part = folder / f"network-{k}"
            part.mkdir()
            save_classifier(crowd.classifier, shape(self.inputs), len(self.votes.classes), self.width, part)
        return {"without_sample": self._without_sample()}

    def _without_sample(self) -> int:
        """Classes that have no image in the last meta set of one of the networks."""
        if not self.meta_image.any():  # the warm-up was all
            return 0
        return len(self.votes.classes) - min(len(own.unique()) for own in self.meta_class)


def of_network(batch: Batch, k: int) -> dict[str, Tensor]:
    """A network's part of a batch."""
    return {name.removesuffix(f"_{k}"): value for name, value in batch.items() if name.endswith(f"_{k}")}


def correction(
    crowd: Crowd, batch: Batch, group: Tensor, groups: int, meta_inputs: Tensor, meta_class: Tensor, ranks: Ranks
) -> Tensor:
    """V, (G, C, C): minus CORRECTION_RATE times the meta loss's derivative by each group's correction, at none.

    Args:
        crowd: a network with its matrices; nothing of it changes.
        batch: inputs and votes of the step.
        group: (A,) int64, the group of each annotator.
        groups: G.
        meta_inputs: (m, ...) of the meta set.
        meta_class: (m,) int64, its classes; the meta set is the same on every rank.
        ranks: over which the step's gradient is averaged.
    """
    network = crowd.classifier
    weights = {name: value.detach() for name, value in network.named_parameters()}
    matrices = crowd.matrices.detach()

    def logits(given: dict[str, Tensor]) -> Tensor:
        found: Tensor = functional_call(network, given, (batch["inputs"],))
        return found

    free = {name: value.requires_grad_() for name, value in weights.items()}
    slopes = torch.autograd.grad(votes_loss(logits(free), matrices, batch), list(free.values()))
    ranks.mean_(slopes)
    ahead = {
        name: (value - VIRTUAL_RATE * slope).detach().requires_grad_()
        for (name, value), slope in zip(free.items(), slopes, strict=True)
    }
    meta = F.cross_entropy(functional_call(network, ahead, (meta_inputs,)), meta_class)
    along = dict(zip(ahead, torch.autograd.grad(meta, list(ahead.values())), strict=True))
    fixed = {name: value.detach() for name, value in weights.items()}
    with torch.no_grad():
        at, moved = jvp(logits, (fixed,), (along,))  # type: ignore[misc]
    at = at.detach().requires_grad_()
    offset = torch.zeros(groups, *matrices.shape[1:], device=matrices.device, requires_grad=True)
    (slope,) = torch.autograd.grad(votes_loss(at, matrices + offset[group], batch), at, create_graph=True)
    (derivative,) = torch.autograd.grad((slope * moved.detach()).sum(), offset)
    ranks.mean_([derivative])
    return CORRECTION_RATE * VIRTUAL_RATE * derivative


def grouped(matrices: npt.NDArray[np.float32], groups: int, seed: int) -> npt.NDArray[np.int64]:
    """Annotators, (A, C, C) matrices, into groups of alike ones by k-means: (A,) int64."""
    from sklearn.cluster import KMeans

    if groups == 1:
        return np.zeros(len(matrices), np.int64)
    found: Any = KMeans(groups, n_init=1, random_state=seed).fit_predict(matrices.reshape(len(matrices), -1))
    return np.asarray(found, np.int64)


def distilled(
    probabilities: npt.NDArray[np.float32], votes: VotesByImage, matrices: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A meta set: in each predicted class the META_PER_CLASS images whose votes fit best, repeated where there are fewer.

    A class that no image is predicted to be of is left out, and the others fill its place.

    Returns:
        images and their classes, (C * META_PER_CLASS,) int64 each.
    """
    total = np.zeros(len(probabilities))
    for at in range(0, len(votes.image), _VOTES):
        image, annotator, label = (part[at : at + _VOTES] for part in (votes.image, votes.annotator, votes.label))
        said = np.einsum("vc,vc->v", probabilities[image], matrices[annotator, :, label])
        total += np.bincount(image, -np.log(np.maximum(said, 1e-12)), len(total))
    count = np.diff(votes.first)
    losses = np.where(count > 0, total / np.maximum(count, 1), np.inf)
    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    rows, chosen = [], []
    for c in range(classes):
        there = np.flatnonzero((predicted == c) & np.isfinite(losses))
        if len(there):
            best = there[np.argsort(losses[there], kind="stable")[:META_PER_CLASS]]
            rows.append(np.resize(best, META_PER_CLASS))
            chosen.append(np.full(META_PER_CLASS, c))
    size = classes * META_PER_CLASS
    return np.resize(np.concatenate(rows), size).astype(np.int64), np.resize(np.concatenate(chosen), size).astype(np.int64)
