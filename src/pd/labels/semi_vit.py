"""The gaps of a label column, filled by a vision transformer that learns from few labels (`pd.classify.semi_vit`)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pd.classify.fine_tune import load_vit
from pd.classify.inputs import Chosen, Inputs
from pd.classify.mae import MaeTask
from pd.classify.semi_vit import SemiVitTask
from pd.classify.task import digest_of_array, predict
from pd.classify.vit import Vit, build_vit
from pd.config.labels import LabelsSettings
from pd.config.training import TrainingSettings
from pd.errors import UserError
from pd.labels.result import Floats
from pd.progress import Progress, silent
from pd.training.digest import training_digest
from pd.training.loop import FACTS, fit_here
from pd.training.task import Task

PREDICT = 128  # rows of a forward: transformers of timm take large pictures

Index = npt.NDArray[np.int64]
Value = str | float | None
Fit = Callable[[Task, TrainingSettings, Path, Progress], Path]
"""`fit_here`, or `pd.engine.fit.fit` for several workers."""


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a column.

    Attributes:
        name: of the column.
        classes: its values, sorted.
        labels: (N,) int64, of each image, -1 where it is not known.
    """

    name: str
    classes: Sequence[str | float]
    labels: Index

    @classmethod
    def of(cls, name: str, values: Sequence[Value]) -> "Known":
        """The classes of a column; empty text, NaN and None are not known."""
        known = [value if value not in ("", None) and value == value else None for value in values]
        present = {value for value in known if value is not None}
        classes: list[str | float] = sorted(present, key=lambda value: (isinstance(value, str), value))
        at = {value: number for number, value in enumerate(classes)}
        return cls(name, classes, np.array([-1 if value is None else at[value] for value in known], np.int64))

    def only(self, mask: npt.NDArray[np.bool_]) -> "Known":
        """With the labels of some images alone."""
        return Known(self.name, self.classes, np.where(mask, self.labels, -1))

    def check(self, where: str) -> None:
        """Refuse what nothing can be learned from.

        Raises:
            UserError: fewer labelled images than classes, a class with fewer than two, one class only.
        """
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))
        labelled, classes = int(counts.sum()), len(self.classes)
        what = f"column '{self.name}'"
        if classes < 2:
            raise UserError(
                f"{what} has {classes} class{'es' * (classes == 0)}",
                code="one-class",
                where=where,
                fix="label images of two or more",
            )
        if labelled < classes:
            raise UserError(
                f"{what} has {labelled} labelled images to learn from and {classes} classes",
                code="too-few-labels",
                where=where,
                fix="label more images",
            )
        if lone := int((counts < 2).sum()):
            raise UserError(
                f"{what}: {lone} of {classes} classes have fewer than two labelled images to learn from",
                code="too-few-labels",
                where=where,
                fix="label more of them, or leave their labels out",
            )


@dataclass(frozen=True, eq=False)
class Classifier:
    """What was learned of a column.

    Attributes:
        module: inputs -> logits of the classes.
        least: (C,) float64, the least probability at which a class is given.
    """

    module: Vit
    least: Floats

    def told(self, inputs: Inputs) -> Floats:
        """(N, C) float64 probabilities."""
        return predict(self.module, inputs, batch=PREDICT).astype(np.float64)

    def given(self, told: Floats) -> npt.NDArray[np.bool_]:
        """(N,), whether the most probable class is sure enough to be given."""
        found: npt.NDArray[np.bool_] = told.max(axis=1) >= self.least[told.argmax(axis=1)]
        return found


def learn(
    inputs: Inputs,
    known: Known,
    settings: LabelsSettings,
    work: Path,
    *,
    seed: int,
    digest: str = "",
    unlabelled: Index | None = None,
    fit: Fit = fit_here,
    progress: Progress = silent,
) -> Classifier:
    """Train a classifier on what is known of a column and on the other images.

    Args:
        inputs: N images.
        known: of their classes; `check` has been called.
        settings: `semi_vit`, `training` and `least` count.
        work: folder for checkpoints; the same call resumes there.
        seed: of networks and batches.
        digest: of the inputs' content.
        unlabelled: rows that may be looked at though their label is not known; None: all without a label.
        fit: who trains.
        progress: called as the training goes.
    """
    import json

    how, work = settings.semi_vit, work / training_digest(settings.training)
    start = None
    if how.mae_steps:
        before = settings.training.model_copy(update={"steps": how.mae_steps})
        seen, of = inputs, digest
        if unlabelled is not None:  # nor does pre-training look at others
            rows = np.union1d(np.flatnonzero(known.labels >= 0), unlabelled).astype(np.int64)
            seen, of = Chosen(inputs, rows), f"{digest} {digest_of_array(rows)}"
        start = fit(MaeTask(seen, how, seed=seed, digest=of), before, work / "mae", progress)
    task = SemiVitTask(
        inputs,
        known.labels,
        len(known.classes),
        how,
        steps=settings.training.steps,
        seed=seed,
        digest=digest,
        start=start,
        unlabelled=unlabelled,
    )
    out = fit(task, settings.training, work, progress)
    facts = json.loads((out / FACTS).read_text(encoding="utf-8"))
    lowered = np.array(facts.get("sureness", [1.0] * len(known.classes)))
    module = load_vit(out)
    if settings.training.gpus_per_worker and torch.cuda.is_available():
        module.cuda()
    return Classifier(module, settings.sure * lowered)


def check_network(settings: LabelsSettings, shape: tuple[int, ...], classes: int) -> None:
    """Refuse a network that cannot be built, and a batch that does not divide among workers, before anything is trained.

    Args:
        settings: `semi_vit` and `training.workers` count.
        shape: (C, S, S) of the images.
        classes: outputs.
    """
    build_vit(settings.semi_vit.network, shape, classes, 0)
    batch, training = settings.semi_vit.batch, settings.training
    counts = range(max(1, training.min_workers), max(1, training.max_workers) + 1)
    if wrong := [count for count in counts if batch % count]:
        multiple = math.lcm(*counts)
        fewer = ", or set one number of labels.training.workers" if len(counts) > 1 else ""
        raise UserError(
            f"a batch of {batch} images does not divide among {wrong[0]} workers",
            code="bad-batch",
            where="labels.semi_vit.batch",
            fix=f"set a multiple of {multiple}{fewer}",
        )


def hold_out(known: Known, groups: Sequence[str], part: float, seed: int) -> npt.NDArray[np.bool_]:
    """(N,), labelled images to measure on: whole groups (people), so many that every class keeps two to learn from.

    Args:
        known: what is known.
        groups: N names; a group is on one side.
        part: of the labelled images, at most.
        seed: of the choice.
    """
    names = np.array(groups, dtype=object)
    labelled = known.labels >= 0
    left = np.bincount(known.labels[labelled], minlength=len(known.classes))
    order = np.random.default_rng([seed, 17]).permutation(np.array(sorted(set(names[labelled])), dtype=object))
    rows_of: dict[str, list[int]] = {}
    for row in np.flatnonzero(labelled):
        rows_of.setdefault(names[row], []).append(int(row))
    held, count = np.zeros(len(names), bool), 0
    for group in order:
        rows = rows_of[group]
        after = left - np.bincount(known.labels[rows], minlength=len(left))
        if count + len(rows) <= part * labelled.sum() and (after >= np.minimum(left, 2)).all():
            held[rows], left, count = True, after, count + len(rows)
    return held
