"""What a training is: settings, data and seed; and its folder, named by a digest of these."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pd.config import DataSettings, ModelSettings, TrackingSettings, digest_of
from pd.diffusion.data import TrainingData

# What may change between two attempts without making another model.
_OPERATIONAL = {"checkpoint_every", "cpus_per_worker", "gpus_per_worker", "samples_every"}


@dataclass(frozen=True)
class Job:
    """One training, as its workers are told of it.

    Attributes:
        settings: the model and its training.
        data: size and mode of the images.
        seed: everything random follows from it.
        folder: checkpoints, caches and the finished model; on storage that all workers share.
        threads: threads for torch in each worker; None: as the process has it.
        prompts: what samples are asked for while it trains; private, as the captions they are.
        tracking: who else is told of the figures; its `mlflow` is named.
    """

    settings: ModelSettings
    data: DataSettings
    seed: int
    folder: Path
    threads: int | None = None
    prompts: tuple[str, ...] = ("",)
    tracking: TrackingSettings | None = None

    @property
    def inputs(self) -> Path:
        """Images and captions as handed over; gone once the cache is written."""
        return self.folder / "inputs.safetensors"

    @property
    def autoencoder(self) -> Path:
        """The autoencoder, where this job trains one: a diffusers folder."""
        return self.folder / "autoencoder"

    @property
    def cache(self) -> Path:
        """Latents and tokens: all that the training loop reads."""
        return self.folder / "cache.safetensors"

    @property
    def progress(self) -> Path:
        """One JSON line per report."""
        return self.folder / "progress.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Event files of the same figures."""
        return self.folder / "tensorboard"

    @property
    def samples(self) -> Path:
        """Grids of samples, a PNG each."""
        return self.folder / "samples"

    @property
    def tracked(self) -> Path:
        """Which run of the tracking server this is."""
        return self.folder / "mlflow.json"

    @property
    def model(self) -> Path:
        """The trained model, a diffusers folder; whole or not there."""
        return self.folder / "model"

    @property
    def facts(self) -> Path:
        """Figures of the finished training; written last."""
        return self.folder / "done.json"


def common(captions: Iterable[str], most: int = 16) -> tuple[str, ...]:
    """The most frequent captions, at most so many; those that are as frequent by their letters."""
    counts = Counter(captions)
    return tuple(sorted(counts, key=lambda caption: (-counts[caption], caption))[:most])


def name_of(settings: ModelSettings, data: DataSettings, images: TrainingData, seed: int) -> str:
    """The folder's name: equal names make equal models, and may go on from each other's checkpoints.

    Batch layout, ZeRO stage and workers count: a checkpoint holds each rank's share.
    """
    pixels = hashlib.sha256(repr(images.images.shape).encode())
    pixels.update(np.ascontiguousarray(images.images).data)
    pixels.update(json.dumps(images.captions).encode())
    return digest_of(
        {
            "settings": settings.model_dump(mode="json", exclude=_OPERATIONAL),
            "data": {"size": data.size, "mode": data.mode},
            "images": pixels.hexdigest(),
            "seed": seed,
        }
    )
