"""DANCE: networks between untrained and trained match a class's mean, and a trained one holds classes apart.

Zhang et al., "DANCE: Dual-View Distribution Alignment for Dataset Condensation" (arXiv 2406.01063). K networks are
trained on the real pictures. Each iteration takes one of them at theta = l theta_0 + (1 - l) theta_T, l uniform in (0,
1) (a middle encoder), and matches the means of its features as DM does. The cross-entropy of the condensed pictures
under a trained network (the expert) is added. Which expert a step asks, and the weight of its term, the paper leaves to
its code: here the same network, at theta_T, and a weight in settings (ours).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from pd.condense import augment
from pd.condense.dm import distance
from pd.condense.experts import weights_of
from pd.condense.formation import parts
from pd.condense.networks import build
from pd.condense.task import CondenseTask, Pictures
from pd.seeds import derive

Expert = tuple[int, Path | None]
"""A trained network: the seed of its first weights, and the folder of its last; None: it was not trained (tests)."""


class DanceTask(CondenseTask):
    """Pictures of a class by DANCE.

    Args:
        experts: at least one; their architecture is the ConvNet of this task's width.
        expert_key: names the trainings that made them, for `key`.
        middle: False: networks of random weights, as DM's; one half of the method, left out.
        calibration: weight of the expert's cross-entropy; 0: the other half left out.
    """

    name = "dance"

    def __init__(  # type: ignore[no-untyped-def]
        self, *given, experts: list[Expert], expert_key: str, middle: bool = True, calibration: float = 1.0, **named
    ) -> None:
        self._experts, self._expert_key, self._middle, self._calibration = experts, expert_key, middle, calibration
        self._loaded: dict[int, tuple[nn.Module, dict[str, Tensor]]] = {}
        super().__init__(*given, **named)

    def besides(self) -> list[object]:
        return [self._expert_key, len(self._experts), self._middle, self._calibration]

    def distance(self, real: Tensor, made: Tensor) -> Tensor:
        return distance(real, made)

    def encoder(self, step: int) -> nn.Module:
        if not self._middle:
            return super().encoder(step)
        first, last = self._pair(self._chosen(step))
        share = float(torch.rand((), generator=torch.Generator().manual_seed(derive(self.seed, "middle", step))))
        module = build("convnet", self.classes, self.channels, self.side, self.width, 0).requires_grad_(False)
        begun = first.state_dict()  # on the device that the network was used on last; the last weights stay where they are
        module.load_state_dict({name: share * value.cpu() + (1 - share) * last[name].cpu() for name, value in begun.items()})
        return module

    def extra(self, module: Pictures, change: augment.Change, step: int) -> Tensor | None:
        if not self._calibration:
            return None
        network, last = self._pair(self._chosen(step))
        images = augment.apply(self.standard(parts(module.images, self.factor)), change)
        weights = {name: value.to(images.device) for name, value in last.items()}
        logits: Tensor = functional_call(network.to(images.device), weights, (images,))
        labels = torch.full((len(images),), self.number, device=images.device)
        return self._calibration * F.cross_entropy(logits, labels)

    def _chosen(self, step: int) -> int:
        return derive(self.seed, "expert", step) % len(self._experts)

    def _pair(self, chosen: int) -> tuple[nn.Module, dict[str, Tensor]]:
        """An expert's network with its first weights, and its last weights."""
        if chosen not in self._loaded:
            seed, folder = self._experts[chosen]
            network = build("convnet", self.classes, self.channels, self.side, self.width, seed).requires_grad_(False)
            self._loaded[chosen] = (network, weights_of(folder) if folder else network.state_dict())
        return self._loaded[chosen]
