"""The same classifier by DP-SGD (arXiv 1607.00133): the baseline, and a judge that a generator may learn against.

A step draws people by Poisson sampling, one image of each, clips each person's gradient, adds noise to the sum and divides by
the expected number of people. All that a step draws follows from (key, step): a killed training resumes as if it had not been.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pd.classifier.examples import Examples
from pd.classifier.plan import Plan
from pd.classify.inputs import Inputs, inputs_of, shape, tensor
from pd.classify.networks import build
from pd.classify.task import save_classifier
from pd.config.classifier import ClassifierSettings
from pd.config.training import TrainingSettings
from pd.dp.noise import NoiseSource
from pd.formal.clipped import ClippedSum, PersonGradients
from pd.formal.private_training import PrivateTask
from pd.seeds import derive
from pd.training.ranks import Ranks
from pd.training.task import Facts


class PrivateClassifier(PrivateTask):
    """A classifier whose gradients are clipped by person and noised.

    Args:
        settings: of the section `classifier`.
        held: the members.
        plan: rate, steps and noise; it must be in the ledger before a step is taken.
        source: of people and noise.
        seed: of weights and pictures of a person.
        key: names the training.
    """

    def __init__(
        self, settings: ClassifierSettings, held: Examples, plan: Plan, source: NoiseSource, seed: int, key: str
    ) -> None:
        assert plan.sgd_noise is not None
        self.key, self.settings, self.seed = key, settings, seed
        self._noise, self._rate, self._people = plan.sgd_noise, plan.sgd_rate, held.people
        self._inputs: Inputs = inputs_of(held.images)
        self._labels, self._first, self._classes = torch.from_numpy(held.labels), held.first, len(held.classes)
        self._source = source

    def build(self) -> nn.Module:
        return build(shape(self._inputs), self._classes, self.seed, self.settings.width)

    def fill(self, module: nn.Module, step: int, ranks: Ranks) -> None:
        drawn = self._source.poisson_sample(self._people, self._rate, "people", step)
        draws = np.random.default_rng([self.seed, step]).random(len(drawn))
        count = np.diff(self._first)[drawn]
        rows = self._first[drawn] + np.minimum((draws * count).astype(np.int64), count - 1)
        total, gradients = ClippedSum(module, self.settings.sgd_clip), PersonGradients(module)
        mine = rows[ranks.rank :: ranks.world]
        for start in range(0, len(mine), self.settings.sgd_micro_batch):
            part = mine[start : start + self.settings.sgd_micro_batch]
            inputs, labels = tensor(self._inputs, part).to(ranks.device), self._labels[part].to(ranks.device)

            def losses(inputs: Tensor = inputs, labels: Tensor = labels) -> Tensor:
                return functional.cross_entropy(module(inputs), labels, reduction="none")

            gradients.add(total, losses, len(part))
        total.over_ranks(ranks)
        total.noised(self._noise, self._source, step).fill(module, self._people * self._rate)

    def export(self, module: nn.Module, folder: Path) -> Facts:
        save_classifier(copy.deepcopy(module), shape(self._inputs), self._classes, self.settings.width, folder)
        return {}


def training(settings: ClassifierSettings, plan: Plan) -> TrainingSettings:
    """Of the private steps; workers and GPUs are the student's."""
    return TrainingSettings(
        steps=plan.sgd_steps,
        learning_rate=settings.sgd_rate,
        weight_decay=0.0,
        schedule="constant",
        warmup=0.0,
        clip_norm=None,
        ema=settings.sgd_ema,
        checkpoint_every=settings.student.checkpoint_every,
        workers=settings.student.workers,
        gpus_per_worker=settings.student.gpus_per_worker,
    )


def sgd_seed(seed: int) -> int:
    """Of the private training's weights."""
    return derive(seed, "private classifier")
