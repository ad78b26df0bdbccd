"""Student: train on kept candidates and nothing else; it is what is released."""

from pathlib import Path

from pd.config import DataSettings, ModelSettings, TrackingSettings
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion.data import TrainingData
from pd.engine.machines import machines_for
from pd.engine.runtime import connect
from pd.engine.training.stopped import stopped_trainings
from pd.engine.training.train import train_model
from pd.progress import Progress
from pd.release.verify import write_lineage
from pd.stages.base import Context, Facts
from pd.store.atomic import write_folder


def train_student(
    kept: SyntheticDataset,
    model: ModelSettings,
    shape: DataSettings,
    out: Path,
    work: Path,
    seed: int,
    progress: Progress,
    tracking: TrackingSettings | None = None,
) -> Facts:
    """Train a student and write it to `out` as a diffusers folder.

    It takes a `SyntheticDataset`, never a `PrivateDataset`: nothing private can be handed to it.

    Args:
        kept: the images it learns from, and their prompts.
        model: how it is built and trained.
        shape: size and mode of the images (nothing else of it is read).
        out: an empty folder.
        work: checkpoints and caches.
        seed: of everything random in it.
        progress: called as it goes.
        tracking: who else is told of the figures.
    """
    return train_model(model, shape, TrainingData(kept.images, kept.prompts), out, work, seed, progress, tracking)


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    for line in stopped_trainings(run.work / "student", settings.student):
        context.reporter.say(f"  {line}")
    connect(settings.address, run)
    with (
        write_folder(run.model) as folder,
        context.reporter.task("student") as progress,
        machines_for(settings.cluster, settings.student, progress),
    ):
        kept = SyntheticDataset.open(run.data)
        facts = train_student(
            kept,
            settings.student,
            settings.data,
            folder,
            run.work / "student",
            context.seed("student"),
            progress,
            settings.tracking,
        )
        write_lineage(folder, settings.student, run.data)
    return facts
