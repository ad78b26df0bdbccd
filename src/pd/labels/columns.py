"""Noisy yes-or-no columns, or columns with gaps, to labels with probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pd.classify.inputs import Inputs
from pd.classify.task import ClassifierTask, load_classifier, predict
from pd.config.labels import LabelsSettings
from pd.errors import UserError
from pd.labels.combine import with_noisy
from pd.labels.result import Floats
from pd.labels.reweight import ReweightedTask
from pd.labels.transition import Transitions, by_correlation
from pd.progress import Progress, silent
from pd.training.digest import training_digest
from pd.training.loop import fit_here


@dataclass(frozen=True, eq=False)
class Mended:
    """Labels of N images in q columns.

    Attributes:
        present: (N, q) float64, P(label present).
        transitions: the estimated noise of each column; None: taken to be right where known.
        warnings: what a reader must know.
    """

    present: Floats
    transitions: Transitions | None
    warnings: tuple[str, ...]


def check_columns(noisy: Floats, names: Sequence[str]) -> None:
    """Refuse what cannot be learned.

    Args:
        noisy: (N, q), NaN where unknown.
        names: of the q columns.

    Raises:
        UserError: a column with other values than 0, 1 and NaN, or without images of both.
    """
    for name, values in zip(names, noisy.T, strict=True):
        present = set(np.unique(values[np.isfinite(values)]).tolist())
        if not present <= {0.0, 1.0}:
            raise UserError(
                f"column '{name}' is not of yes and no",
                code="bad-column",
                where="labels.columns",
                fix="its values must be 0, 1, -1 or blank",
            )
        if len(present) < 2:
            raise UserError(
                f"column '{name}' has images of one class only", code="one-class", where="labels.columns", fix="leave it out"
            )


def mended(
    noisy: Floats,
    inputs: Inputs,
    settings: LabelsSettings,
    work: Path,
    *,
    seed: int,
    digest: str = "",
    progress: Progress = silent,
) -> Mended:
    """Mend columns by what a network sees in the images.

    Args:
        noisy: (N, q), 0, 1 or NaN, as `check_columns` wants them.
        inputs: N images.
        settings: `method` is `transition` or `fill`.
        work: folder for checkpoints; the same call resumes there.
        seed: of networks and batches.
        digest: of the inputs' content.
        progress: called as the training goes.
    """
    said, work = noisy.astype(np.float32), work / training_digest(settings.training)
    size = min(settings.batch, len(inputs))
    warm = ClassifierTask(inputs, said, seed=seed, batch=size, width=settings.width, multi_label=True, digest=digest)
    if settings.method == "fill":
        seen = _predicted(warm, settings, work, inputs, progress)
        return Mended(np.where(np.isfinite(noisy), noisy, seen), None, ())
    half = settings.training.model_copy(update={"steps": max(1, settings.training.steps // 2)})
    seen = _predicted(warm, settings.model_copy(update={"training": half}), work / "warm", inputs, progress)
    losses = -np.log(np.clip(np.where(noisy > 0.5, seen, 1 - seen), 1e-7, 1))
    found = by_correlation(noisy, seen, np.where(np.isfinite(noisy), losses, np.nan), one_sided=settings.one_sided, seed=seed)
    task = ReweightedTask(inputs, said, found.matrices, seed=seed, batch=size, width=settings.width, digest=digest)
    seen = _predicted(task, settings, work, inputs, progress)
    return Mended(with_noisy(seen, noisy, found.matrices), found, _warnings(found))


def _predicted(task: ClassifierTask, settings: LabelsSettings, work: Path, inputs: Inputs, progress: Progress) -> Floats:
    module = load_classifier(fit_here(task, settings.training, work, progress))
    return predict(module, inputs, multi_label=True).astype(np.float64)


def _warnings(found: Transitions) -> tuple[str, ...]:
    warnings, count = [], len(found.how)
    if by_dual := found.how.count("dual"):
        warnings.append(
            f"{by_dual} of {count} columns: their noise is not identifiable from other columns, or too few images are "
            "likely clean; it was estimated by Dual-T"
        )
    if none := found.how.count("none"):
        warnings.append(
            f"{none} of {count} columns: the network finds the label on too few images to estimate its noise; "
            "labels stay as given"
        )
    return tuple(warnings)
