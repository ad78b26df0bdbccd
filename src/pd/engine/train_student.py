"""A student is trained on synthetic images, and on nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pd.config import DataSettings, ModelSettings, TrackingSettings
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion.data import TrainingData
from pd.engine.training.train import train_model
from pd.progress import Progress


def train_student(
    kept: SyntheticDataset,
    model: ModelSettings,
    shape: DataSettings,
    out: Path,
    work: Path,
    seed: int,
    progress: Progress,
    tracking: TrackingSettings | None = None,
    snapshots: list[Path] | None = None,
) -> Mapping[str, Any]:
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
        snapshots: gets the student at each checkpoint, where `model.stop` is `private`.
    """
    images = TrainingData(kept.images, kept.prompts)
    return train_model(model, shape, images, out, work, seed, progress, tracking, snapshots)
