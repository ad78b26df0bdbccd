"""CrowdLayer: a network learns the truth behind the votes, with a matrix for each annotator on top.

Rodrigues and Pereira, "Deep Learning from Crowds" (arXiv 1709.01779), the layer "MW": q_r = softmax(W_r^T p), where p are the
network's class probabilities; cross-entropy on what each annotator said. In the paper W_r starts as the identity; here it is
a multiple of it, such that a network sure of its class says it with probability `START` (ours): with the identity itself
that is 0.23 among ten classes, and the network must exaggerate to fit the votes. The matrices' learning rate is `SPEED` times
the network's (ours).
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from pd.classify.inputs import Inputs, batch_rows, shape, share_of, tensor
from pd.classify.networks import build
from pd.classify.task import digest_of_array, predict, save_classifier
from pd.config import digest_of
from pd.config.training import TrainingSettings
from pd.labels.votes import Votes
from pd.training.task import Batch, Facts, Ranks, Task, optimiser

START = 0.7  # ours
SPEED = 10.0  # ours


class Crowd(nn.Module):
    """A classifier and the annotators' matrices.

    Args:
        classifier: inputs -> (N, C) logits.
        annotators: how many.
        classes: C.
    """

    def __init__(self, classifier: nn.Module, annotators: int, classes: int) -> None:
        super().__init__()
        self.classifier = classifier
        scale = math.log(START / (1 - START) * (classes - 1))
        self.matrices = nn.Parameter(scale * torch.eye(classes).repeat(annotators, 1, 1))


def votes_loss(logits: Tensor, matrices: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy of the votes on a rank's images, such that the mean over ranks is the mean over the global batch's votes.

    Args:
        logits: (n, C) of the images.
        matrices: (A, C, C), W of all annotators.
        batch: `annotator`, `label`, `given`, (n, M) each, and `each`, as `VotesByImage.share` gives them.
    """
    given = batch["given"]
    image = torch.arange(len(given), device=given.device)[:, None].expand_as(given)[given]
    said = torch.einsum("vc,vcd->vd", logits.softmax(1)[image], matrices[batch["annotator"][given]])
    return F.cross_entropy(said, batch["label"][given], reduction="sum") / batch["each"].to(said.dtype)


class VotesByImage:
    """The votes, an image's beside each other. Memory is that of the votes, however many a single image has.

    Args:
        votes: of all.

    Attributes:
        image, annotator, label: (V,) int64, image by image.
        first: (N + 1,) int64, where each image's votes begin.
        voted: (n,) int64, the images that have a vote.
    """

    def __init__(self, votes: Votes) -> None:
        order = np.argsort(votes.image, kind="stable")
        self.image, self.annotator, self.label = votes.image[order], votes.annotator[order], votes.label[order]
        counts = np.bincount(self.image, minlength=len(votes.images))
        self.first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.voted = np.flatnonzero(counts).astype(np.int64)

    def share(self, inputs: Inputs, seed: int, step: int, batch: int, rank: int, world: int) -> dict[str, Tensor]:
        """A rank's images of a step with their votes, padded to the most that one of them has.

        Returns:
            `inputs`, (n, ...); `annotator` and `label`, (n, M) int64, 0 where there is no vote; `given`, (n, M) bool, where
            there is one; `each`, scalar, votes of the global batch by rank.
        """
        whole = self.voted[batch_rows(seed, step, len(self.voted), batch)]
        rows = share_of(whole, rank, world)
        counts = self.first[rows + 1] - self.first[rows]
        given = np.arange(counts.max()) < counts[:, None]
        at = np.where(given, self.first[rows][:, None] + np.arange(counts.max()), 0)
        votes = {
            "annotator": torch.from_numpy(np.where(given, self.annotator[at], 0)),
            "label": torch.from_numpy(np.where(given, self.label[at], 0)),
            "given": torch.from_numpy(given),
        }
        each = float((self.first[whole + 1] - self.first[whole]).sum()) / world
        return {"inputs": tensor(inputs, rows), **votes, "each": torch.tensor(each)}


class CrowdLayerTask(Task):
    """Trains a `Crowd`.

    Args:
        inputs: the images, in the order of `votes.images`.
        votes: of the annotators.
        seed: weights and batches follow from it.
        batch: images a step.
        width: of the network; None: its default.
        digest: of the inputs' content, for `key`.
    """

    def __init__(
        self, inputs: Inputs, votes: Votes, *, seed: int, batch: int = 128, width: int | None = None, digest: str = ""
    ) -> None:
        self.inputs, self.votes, self.seed, self.size, self.width = inputs, votes, seed, batch, width
        self.by_image = VotesByImage(votes)
        self.key = digest_of(["crowd_layer", digest, digest_of_votes(votes), seed, batch, width])

    def build(self) -> nn.Module:
        classes = len(self.votes.classes)
        classifier = build(shape(self.inputs), classes, self.seed, self.width)
        return Crowd(classifier, len(self.votes.annotators), classes)

    def batch(self, step: int, rank: int, world: int) -> Batch:
        return self.by_image.share(self.inputs, self.seed, step, self.size, rank, world)

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        assert isinstance(module, Crowd)
        return {"loss": votes_loss(module.classifier(batch["inputs"]), module.matrices, batch)}

    def optimiser(self, module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
        return crowd_optimiser(module, settings)

    def export(self, module: nn.Module, folder: Path) -> Facts:
        assert isinstance(module, Crowd)
        save_crowd(module, predict(module.classifier, self.inputs), folder)
        save_classifier(module.classifier, shape(self.inputs), len(self.votes.classes), self.width, folder)
        return {}


def crowd_optimiser(module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The settings' optimiser, with a higher rate for `matrices`, which no decay pulls towards an annotator who guesses."""
    named = dict(module.named_parameters())
    networks = [value for name, value in named.items() if not name.endswith("matrices")]
    found = optimiser(networks, settings)
    matrices = [value for name, value in named.items() if name.endswith("matrices")]
    found.add_param_group({"params": matrices, "lr": SPEED * settings.learning_rate, "weight_decay": 0.0})
    return found


def confusions(matrices: Tensor, offset: Tensor | None = None) -> Tensor:
    """P(annotator says column | truth is row), (A, C, C): softmax of W_r's rows, as for a p that is sure of its class."""
    return (matrices if offset is None else matrices + offset).softmax(dim=2)


def save_crowd(module: Crowd, probabilities: npt.NDArray[np.float32], folder: Path) -> None:
    """Write what was learned of images and annotators, for `pd.labels.fit`."""
    held = {"probabilities": torch.from_numpy(probabilities), "confusions": confusions(module.matrices.detach()).cpu()}
    save_file({name: value.contiguous() for name, value in held.items()}, folder / "labels.safetensors")


def digest_of_votes(votes: Votes) -> str:
    """Of everything in them that a network learns from."""
    numbers = [digest_of_array(values) for values in (votes.image, votes.annotator, votes.label)]
    return str(digest_of([*numbers, len(votes.images), len(votes.annotators), list(votes.classes)]))
