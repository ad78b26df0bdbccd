"""How the gradient of a step comes about: the place where private training differs from all other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from pd.training.ranks import Ranks, mean_gradients

if TYPE_CHECKING:
    from pd.config.training import TrainingSettings
    from pd.training.task import Batch, Task


class GradientRule(Protocol):
    """Makes the gradient of a step. A rule has no memory: what it draws follows from (task, step)."""

    def gradients(self, task: Task, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        """Fill `grad` of all that is trained, with the same values on every rank.

        Args:
            task: whose loss it is.
            module: in training mode, gradients cleared.
            batch: this rank's part, on its device; a rule for batches of varying size must take an empty one.
            step: from 0.
            ranks: to sum or average over.

        Returns:
            Detached scalars by name, `loss` among them, of this rank; the loop averages them over ranks.
        """


class MeanGradient:
    """The gradient of the mean loss over ranks, clipped by its norm where the settings say so.

    Args:
        settings: `precision` (resolved) and `clip_norm` count.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings

    def gradients(self, task: Task, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        with torch.autocast(ranks.device.type, torch.bfloat16, enabled=self._settings.precision == "bf16"):
            figures = dict(task.loss(module, batch, step, ranks))
        figures["loss"].backward()  # type: ignore[no-untyped-call]
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        mean_gradients(trained, ranks)
        if self._settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(trained, self._settings.clip_norm)
        return {name: value.detach() for name, value in figures.items()}
