"""What a training is: settings, data and seed; and its folder, named by a digest of these."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pd.config import DataSettings, ModelSettings, digest_of
from pd.diffusion.data import TrainingData

# What may change between two attempts without making another model: how the work is laid out over workers and devices.
_OPERATIONAL = {"checkpoint_every", "workers", "cpus_per_worker", "gpus_per_worker", "micro_batch", "zero_stage"}
_OPERATIONAL |= {"offload", "compile", "gradient_checkpointing"}


@dataclass(frozen=True)
class Job:
    """One training, as its workers are told of it.

    Attributes:
        settings: the model and its training.
        data: size and mode of the images.
        seed: everything random follows from it.
        folder: checkpoints, caches and the finished model; on storage that all workers share.
        threads: threads for torch in each worker; None: as the process has it.
    """

    settings: ModelSettings
    data: DataSettings
    seed: int
    folder: Path
    threads: int | None = None

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
    def model(self) -> Path:
        """The trained model, a diffusers folder; whole or not there."""
        return self.folder / "model"

    @property
    def facts(self) -> Path:
        """Figures of the finished training; written last."""
        return self.folder / "done.json"


def name_of(settings: ModelSettings, data: DataSettings, images: TrainingData, seed: int) -> str:
    """The folder's name: equal names make equal models, and may go on from each other's checkpoints.

    How the work is laid out does not count: a checkpoint is read by any number of workers, at any ZeRO stage.
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
