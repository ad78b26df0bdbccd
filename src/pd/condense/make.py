"""The trainings that condense labelled pictures: experts where the method asks for them, and one for each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from pd.classify.inputs import Held
from pd.classify.task import digest_of_array
from pd.condense.dance import DanceTask, Expert
from pd.condense.dm import DmTask
from pd.condense.experts import LearnerTask
from pd.condense.m3d import M3dTask
from pd.condense.task import RESULT, CondenseTask
from pd.config import digest_of
from pd.config.condense import CondenseSettings
from pd.config.training import TrainingSettings
from pd.dataset.images import Pixels
from pd.errors import UserError
from pd.seeds import derive
from pd.training.digest import training_digest

RATES = {"dm": 0.3, "m3d": 10.0, "dance": 0.1}
"""Learning rates of pictures in [0, 1], at ten stored pictures a class; in proportion to their number. Ours."""
_LEAST = 1e-3  # a channel's deviation is at least this


@dataclass(frozen=True)
class Classes:
    """Labelled pictures.

    Attributes:
        images: (N, S, S, C) uint8, in memory.
        labels: (N,) int64, a class from 0.
        names: of the classes.
    """

    images: Pixels
    labels: npt.NDArray[np.int64]
    names: list[str]

    def refuse_unfit(self, settings: CondenseSettings) -> None:
        """Raises UserError where these pictures cannot be condensed as the settings say."""
        where = "condense.labels"
        if len(self.names) < 2:
            raise UserError(
                "there is one class only", code="one-class", where=where, fix="name a label that has two values at least"
            )
        counts = np.bincount(self.labels, minlength=len(self.names))
        short = int(counts.argmin())
        if counts[short] < settings.per_class:
            raise UserError(
                f"a class has {counts[short]} pictures, {settings.per_class} are asked for ({len(self.names)} classes)",
                code="too-few-images",
                where="condense.per_class",
                fix="ask for fewer, or make and keep more candidates",
            )

    def standard(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and deviations of the channels, pixels in [0, 1]."""
        pixels = self.images.reshape(-1, self.images.shape[3])
        means = pixels.mean(0, dtype=np.float64) / 255
        deviations = np.sqrt(np.maximum((pixels.astype(np.float32) ** 2).mean(0, dtype=np.float64) / 255**2 - means**2, 0))
        return tuple(means.tolist()), tuple(np.maximum(deviations, _LEAST).tolist())


def training_of(settings: CondenseSettings) -> TrainingSettings:
    """How the pictures of a class are trained: with the method's learning rate, where the settings give none."""
    rate = settings.learning_rate or RATES[settings.method] * settings.per_class / 10
    return settings.training.model_copy(update={"learning_rate": rate})


def expert_training(settings: CondenseSettings) -> TrainingSettings:
    """How experts are trained (ours)."""
    return TrainingSettings(
        steps=settings.expert_steps, learning_rate=1e-3, weight_decay=5e-4, checkpoint_every=settings.training.checkpoint_every
    )


def experts_of(data: Classes, settings: CondenseSettings, seed: int) -> list[LearnerTask]:
    """The networks that the method looks through; none unless it is dance."""
    if settings.method != "dance":
        return []
    mean, deviation = data.standard()
    digest = digest_of_array(data.images)
    return [
        LearnerTask(
            Held(data.images),
            data.labels,
            classes=len(data.names),
            mean=mean,
            deviation=deviation,
            width=settings.width,
            batch=min(128, len(data.labels)),
            seed=derive(seed, "expert", number),
            digest=digest_of([digest, digest_of_array(data.labels), training_digest(expert_training(settings))]),
        )
        for number in range(settings.experts)
    ]


def tasks_of(
    data: Classes,
    settings: CondenseSettings,
    seed: int,
    experts: Sequence[LearnerTask] = (),
    folders: Sequence[Path] = (),
    dance: type[DanceTask] = DanceTask,
) -> list[CondenseTask]:
    """A training for each class, in the order of classes.

    Args:
        data: what is condensed.
        settings: how.
        seed: everything follows from it.
        experts: as `experts_of` gives them.
        folders: where they were exported.
        dance: the task of the method dance; a rival that looks through the same networks may stand in its place.

    Raises:
        UserError: the pictures cannot be condensed so.
    """
    data.refuse_unfit(settings)
    mean, deviation = data.standard()
    made: list[CondenseTask] = []
    for number in range(len(data.names)):
        images = data.images[data.labels == number]
        common: dict[str, Any] = {
            "classes": len(data.names),
            "number": number,
            "mean": mean,
            "deviation": deviation,
            "count": settings.per_class,
            "factor": settings.factor,
            "batch": settings.batch,
            "width": settings.width,
            "seed": seed,
            "digest": digest_of([digest_of_array(images), training_digest(training_of(settings))]),
            "show_every": settings.sheets_every,
        }
        if settings.method == "dance":
            pairs: list[Expert] = [(task.seed, folder) for task, folder in zip(experts, folders, strict=True)]
            key = digest_of([task.key for task in experts])
            halves: dict[str, Any] = {"middle": settings.middle, "calibration": settings.calibration}
            made.append(dance(Held(images), experts=pairs, expert_key=key, **halves, **common))
        else:
            made.append({"dm": DmTask, "m3d": M3dTask}[settings.method](Held(images), **common))
    return made


def pictures_in(folders: Sequence[Path]) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """The condensed pictures of all classes, (N, S, S, C) uint8, and their classes, (N,)."""
    found = [load_file(folder / RESULT)["pictures"] for folder in folders]
    return np.concatenate(found), np.repeat(np.arange(len(found)), [len(one) for one in found]).astype(np.int64)
