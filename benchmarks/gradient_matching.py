"""The optimisation-oriented rival of condensing by distributions: gradients of a loss agree, with multi-formation.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization" (IDC, arXiv 2205.14959): the absolute
differences between the gradients that real and condensed pictures of a class give to a network's weights. IDC trains a network
on real pictures between the steps; here each step takes one between untrained and trained, as DANCE does, so that classes stay
apart and each is a training of its own (ours). It is a rival to measure, not a method of `pd condense`.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pd.condense import augment
from pd.condense.dance import DanceTask
from pd.condense.formation import parts
from pd.condense.task import Pictures
from pd.seeds import derive
from pd.training.ranks import Ranks
from pd.training.task import Batch

RATE = 0.03
"""Learning rate of pictures in [0, 1], at ten stored pictures a class; ours, and not tuned."""


class GradientTask(DanceTask):
    """Pictures of a class by gradient matching; one process."""

    name = "idc"

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        assert isinstance(module, Pictures)
        change = augment.draw(torch.Generator().manual_seed(derive(self.seed, "change", self.number, step)))
        network = self.encoder(step).requires_grad_(True)
        real = self._gradients(network, augment.apply(self.standard(batch["real"]), change), keep=False)
        seen = parts(module.images, self.factor)
        made = self._gradients(network, augment.apply(self.standard(seen), change), keep=True)
        found = torch.stack([(a.detach() - b).abs().sum() for a, b in zip(real, made, strict=True)]).sum()
        return {"loss": found, "distance": found.detach()}

    def _gradients(self, network: nn.Module, images: Tensor, *, keep: bool) -> tuple[Tensor, ...]:
        """Of the mean cross-entropy, for each weight of the network."""
        labels = torch.full((len(images),), self.number)
        lost = F.cross_entropy(network(images), labels)
        return torch.autograd.grad(lost, list(network.parameters()), create_graph=keep)
