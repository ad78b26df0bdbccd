"""Training on noisy yes-or-no labels whose transition matrices are known, by importance reweighting.

Liu and Tao, "Classification with Noisy Labels by Importance Reweighting" (arXiv 1411.7718): the loss of a noisy label counts
P(clean = noisy's value | image) / P(noisy's value | image), both by the network itself, the second through T.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pd.classify.inputs import Inputs
from pd.classify.task import ClassifierTask, digest_of_array
from pd.config import digest_of
from pd.training.task import Batch, Ranks

MOST = 10.0  # ours: a weight above it is cut, for a quotient of small numbers is noise


class ReweightedTask(ClassifierTask):
    """A multi-label classifier that learns the clean labels from noisy ones.

    Args:
        inputs: what is classified.
        noisy: (N, q) float32, 0, 1 or NaN.
        matrices: (q, 2, 2), T of each label.
        seed, batch, width, digest: as `ClassifierTask`.
    """

    def __init__(
        self,
        inputs: Inputs,
        noisy: npt.NDArray[np.float32],
        matrices: npt.NDArray[np.float64],
        *,
        seed: int,
        batch: int = 128,
        width: int | None = None,
        digest: str = "",
    ) -> None:
        super().__init__(inputs, noisy, seed=seed, batch=batch, width=width, multi_label=True, digest=digest)
        self.matrices = torch.from_numpy(matrices.astype(np.float32))
        self.key = digest_of(["reweight", self.key, digest_of_array(matrices)])

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        logits, targets = module(batch["inputs"]), batch["targets"]
        known = torch.isfinite(targets)
        said = torch.where(known, targets, 0.0)
        weight = importance(logits.detach().sigmoid(), said, self.matrices.to(logits.device))
        losses = weight * F.binary_cross_entropy_with_logits(logits, said, reduction="none")
        return {"loss": (losses * known).sum() / batch["each"]}


def importance(present: Tensor, said: Tensor, matrices: Tensor) -> Tensor:
    """The weight of each noisy label, (n, q), at most MOST.

    Args:
        present: (n, q), P(clean label present).
        said: (n, q), 0 or 1, the noisy label.
        matrices: (q, 2, 2).
    """
    clean = torch.where(said > 0.5, present, 1 - present)
    noisy_present = (1 - present) * matrices[:, 0, 1] + present * matrices[:, 1, 1]
    noisy = torch.where(said > 0.5, noisy_present, 1 - noisy_present)
    return (clean / noisy.clamp(min=1e-6)).clamp(max=MOST)
