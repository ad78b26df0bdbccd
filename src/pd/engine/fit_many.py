"""Train many tasks, each as `pd.engine.fit` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pd.config.training import TrainingSettings
from pd.engine.fit import alone, fit
from pd.engine.side_by_side import Where, side_by_side
from pd.progress import Progress, silent
from pd.training.loop import finished, fit_here
from pd.training.task import Task


def fit_many(
    tasks: Sequence[Task],
    settings: TrainingSettings,
    work: Path,
    progress: Progress = silent,
    cpus: float = 1.0,
    gpus: float = 0.0,
    where: Where = "auto",
) -> list[Path]:
    """Train tens to thousands of tasks side by side, as Ray tasks or in this process; finished ones are kept over crashes.

    Where the settings ask for several workers each training is too large for one Ray task: they are trained one after
    another, each on all workers.

    Args:
        tasks: what is trained.
        settings: how; the same for all.
        work: folder for all of them, on storage that all machines share.
        progress: called as progress(trainings done, trainings, figures).
        cpus: of each, which computes with so many threads, at least one, wherever it runs.
        gpus: of each; a part of one for small ones.
        where: see `pd.engine.side_by_side`.

    Returns:
        The folders that `fit` would return, in the tasks' order.

    Raises:
        UserError: what the first to fail raised.
    """
    work = work.resolve()
    if settings.max_workers > 1:
        return [_one_of(k, task, settings, work, progress, len(tasks)) for k, task in enumerate(tasks)]
    own = settings.model_copy(update={"workers": 0})
    return side_by_side([_Fit(task, own, work, gpus) for task in tasks], progress, cpus, gpus, where)


def _one_of(number: int, task: Task, settings: TrainingSettings, work: Path, progress: Progress, total: int) -> Path:
    out = fit(
        task, settings, work, lambda done, steps, info: progress(number, total, {"of this one": f"{done}/{steps}", **info})
    )
    progress(number + 1, total, {})
    return out


@dataclass(frozen=True)
class _Fit:
    """One training, as a piece of work."""

    task: Task
    settings: TrainingSettings
    work: Path
    gpus: float

    def done(self) -> Path | None:
        return finished(self.task, self.work)

    def __call__(self, progress: Progress) -> Path:
        return fit_here(self.task, self.settings, self.work, progress, alone(self.gpus))
