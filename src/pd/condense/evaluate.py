"""What condensed pictures are worth: networks that learn from them alone, on real pictures that nobody learned from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pd.classify.inputs import Held
from pd.classify.task import digest_of_array
from pd.condense.experts import LearnerTask
from pd.condense.formation import unpack
from pd.condense.networks import Architecture
from pd.config import digest_of
from pd.config.training import TrainingSettings
from pd.dataset.images import Pixels
from pd.seeds import derive
from pd.training.digest import training_digest
from pd.training.loop import fit_here

BATCH = 128


@dataclass(frozen=True)
class Worth:
    """Accuracies on the test pictures, one a network."""

    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    def interval(self) -> tuple[float, float]:
        """Of the mean, 95 %, by Student's t; the mean itself where there is one network."""
        from scipy.stats import t

        count = len(self.accuracies)
        if count < 2:
            return self.mean, self.mean
        half = float(t.ppf(0.975, count - 1) * np.std(self.accuracies, ddof=1) / count**0.5)
        return self.mean - half, self.mean + half


def evaluate(
    pictures: Pixels,
    labels: npt.NDArray[np.int64],
    factor: int,
    test: Pixels,
    test_labels: npt.NDArray[np.int64],
    standard: tuple[tuple[float, ...], tuple[float, ...]],
    work: Path,
    *,
    runs: int = 5,
    steps: int = 300,
    width: int = 128,
    architecture: Architecture = "convnet",
    seed: int = 0,
) -> Worth:
    """Train networks from scratch on stored pictures, changed in each step, and test them.

    Args:
        pictures: (N, S, S, C) uint8, as stored.
        labels: (N,) their classes.
        factor: parts a side of each.
        test: (M, S, S, C) uint8.
        test_labels: (M,).
        standard: means and deviations of the channels (`Classes.standard`).
        work: folder for the trainings.
        runs: networks, of seeds of their own.
        steps: of each, of at most 128 pictures.
        width: see `networks.build`.
        architecture: see there.
        seed: of the networks.
    """
    learned = unpack(pictures, factor)
    settings = TrainingSettings(steps=steps, learning_rate=1e-3, weight_decay=5e-4, checkpoint_every=10**6)
    digest = digest_of([digest_of_array(learned), training_digest(settings)])
    found = []
    for run in range(runs):
        task = LearnerTask(
            Held(learned),
            np.repeat(labels, factor**2),
            classes=int(test_labels.max()) + 1,
            mean=standard[0],
            deviation=standard[1],
            architecture=architecture,
            width=width,
            batch=min(BATCH, len(learned)),
            seed=derive(seed, "evaluation", run),
            digest=digest,
        )
        found.append(task.accuracy(fit_here(task, settings, work), Held(test), test_labels))
    return Worth(tuple(found))


def at_random(labels: npt.NDArray[np.int64], per_class: int, seed: int) -> npt.NDArray[np.int64]:
    """Rows of as many pictures of each class, drawn at random."""
    chance = np.random.default_rng(derive(seed, "at random"))
    classes: Sequence[int] = np.unique(labels).tolist()
    rows = [chance.choice(np.flatnonzero(labels == one), per_class, replace=False) for one in classes]
    return np.concatenate(rows).astype(np.int64)
