"""The protocol of everything that is trained by gradient."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pd.config.training import TrainingSettings
from pd.training import rates
from pd.training.gradients import GradientRule, MeanGradient
from pd.training.ranks import Alone as Alone
from pd.training.ranks import Group as Group
from pd.training.ranks import Ranks as Ranks

Batch = Mapping[str, Tensor]
"""Named tensors of one step on one rank, on the CPU; the loop moves them to the rank's device."""

Facts = dict[str, Any]
"""JSON values that a finished training reports."""


class Task(Protocol):
    """What is trained. Inherit from it: all but `key`, `build`, `batch`, `loss` and `export` has a default.

    A task is pickled to the ranks, so it holds words, numbers and paths, and opens pixels where it runs (`prepare`, `batch`).

    Attributes:
        key: hexadecimal digest of everything that makes another network (settings, data, seed); names the training's folder,
            so that the same task resumes and another one does not.
        watch: what a loss that rises means. "lost": three times the lowest mean is divergence. "to_zero": only if the loss is
            above where it began, too. "no": nothing, as where two networks work against each other.
    """

    key: str
    watch: str = "to_zero"

    def prepare(self, work: Path) -> None:
        """Make caches under `work`. Idempotent; rank 0 calls it before the others build."""
        return

    def build(self) -> nn.Module:
        """The module before its training, a function of the task alone. What is trained has `requires_grad`."""

    def batch(self, step: int, rank: int, world: int) -> Batch:
        """A rank's part of the global batch of a step: a function of (task, step), the same global batch for any `world`.

        The loop asks for steps in order. A task that draws from one stream after another may go on where it stands, and must
        come to the same draws when a resumed training asks for a later step first.
        """

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        """Scalars by name; `loss` is minimised, the others are shown.

        The mean over ranks of `loss` is that of the global batch. Whatever is random is drawn from a generator seeded by
        (task, step); torch's global one, which dropout takes, is seeded by (task, step, rank).
        """

    def gradient_rule(self, settings: TrainingSettings) -> GradientRule:
        """How the gradient of a step comes about; by default that of `loss`, averaged over ranks and clipped."""
        return MeanGradient(settings)

    def optimiser(self, module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
        """The optimiser of what has `requires_grad`; each group's rate is its own times `rate` over its first one."""
        return optimiser([parameter for parameter in module.parameters() if parameter.requires_grad], settings)

    def rate(self, settings: TrainingSettings, step: int) -> float:
        """The learning rate of a step, from 0."""
        return rates.rate(settings, step)

    def after_step(self, module: nn.Module, step: int) -> None:
        """After the optimiser's step: average teachers, queues, centres. The same on every rank."""
        return

    def extra_state(self) -> Mapping[str, Tensor]:
        """Tensors besides the module's and the optimiser's that a resumed training needs."""
        return {}

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `extra_state` gave."""
        return

    def export(self, module: nn.Module, folder: Path) -> Facts:
        """Write the finished module (averaged weights, evaluation mode) into `folder`, safetensors and JSON only."""


class OwnSteps(Task):
    """A task that takes its steps itself, with several optimisers: adversaries, bi-level steps, teachers and students.

    All networks are parts of the one module that `build` gives. The loop does the rest: learning rates, figures, averages of
    weights, checkpoints of all optimisers, resumption. `loss`, `optimiser` and `gradient_rule` are not called.
    """

    watch: str = "no"

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        raise NotImplementedError("this task takes its own steps")

    def optimisers(self, module: nn.Module, settings: TrainingSettings) -> Mapping[str, torch.optim.Optimizer]:
        """Optimisers by name, of parameters of `module`."""
        raise NotImplementedError

    def take_step(
        self,
        module: nn.Module,
        batch: Batch,
        step: int,
        optimisers: Mapping[str, torch.optim.Optimizer],
        ranks: Ranks,
    ) -> Mapping[str, Tensor]:
        """Take one step of all that is trained, alike on every rank.

        Between `backward` and an optimiser's step: `pd.training.ranks.mean_gradients(parameters, ranks)`.

        Returns:
            Detached scalars by name, of this rank; `loss` among them.
        """
        raise NotImplementedError


def optimiser(parameters: list[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The settings' optimiser of parameters."""
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
