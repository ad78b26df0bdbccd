"""What a training is: settings, data and seed; and its folder, named by a digest of these."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pd.config import DataSettings, ModelSettings, TrackingSettings, digest_of
from pd.diffusion.data import TrainingData
from pd.store.files import digest_folder
from pd.store.kept import there

# What may change between two attempts without making another model: how the work is laid out over workers and devices.
OPERATIONAL = {"checkpoint_every", "samples_every", "workers", "cpus_per_worker", "gpus_per_worker", "micro_batch"}
OPERATIONAL |= {"zero_stage", "offload", "compile", "gradient_checkpointing", "base", "revision", "trained"}


@dataclass(frozen=True)
class Job:
    """One training, as its workers are told of it.

    Attributes:
        settings: the model and its training.
        data: size and mode of the images.
        seed: everything random follows from it.
        folder: checkpoints, caches and the finished model; on storage that all workers share, or the mirror of a bucket.
        threads: threads for torch in each worker; None: as the process has it.
        alone: whether the workers have one machine to themselves.
        prompts: what samples are asked for while it trains; private, as the captions they are.
        tracking: who else is told of the figures; its `mlflow` is named.
    """

    settings: ModelSettings
    data: DataSettings
    seed: int
    folder: Path
    threads: int | None = None
    alone: bool = False
    prompts: tuple[str, ...] = ("",)
    tracking: TrackingSettings | None = None

    @property
    def inputs(self) -> Path:
        """A folder that says where images and captions are; gone once the cache is finished."""
        return self.folder / "inputs"

    @property
    def autoencoder(self) -> Path:
        """The autoencoder, where this job trains one: a diffusers folder."""
        return self.folder / "autoencoder"

    @property
    def cache(self) -> Path:
        """A folder with all that the training loop reads."""
        return self.folder / "cache"

    @property
    def latents(self) -> Path:
        """Shards of latents, see `pd.diffusion.latents`."""
        return self.cache / "latents"

    @property
    def text(self) -> Path:
        """The distinct captions, as embeddings or tokens; the first one is empty."""
        return self.cache / "text.parquet"

    @property
    def captions(self) -> Path:
        """Each image's row in `text`."""
        return self.cache / "captions.parquet"

    @property
    def truncated(self) -> Path:
        """How many captions were cut."""
        return self.cache / "truncated.json"

    @property
    def prepared(self) -> Path:
        """How many rows the cache holds, in shards and windows of how many; written last."""
        return self.cache / "done.json"

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
    def snapshots(self) -> Path:
        """The model at each checkpoint, a diffusers folder each, where `stop` is `private`; `generalises`: the last two."""
        return self.folder / "snapshots"

    @property
    def looked_at(self) -> Path:
        """A folder with those whose losses are compared, where `stop` is `generalises`."""
        return self.folder / "looked_at"

    @property
    def looks(self) -> Path:
        """What was found at each checkpoint, a file each, where `stop` is `generalises`."""
        return self.folder / "looks"

    @property
    def tracked(self) -> Path:
        """Which run of the tracking server this is."""
        return self.folder / "mlflow.json"

    @property
    def watched(self) -> tuple[Path, ...]:
        """What is only looked at, by people and by the tracking server."""
        return self.progress, self.tensorboard, self.samples, self.tracked

    @property
    def model(self) -> Path:
        """The trained model, a diffusers folder; whole or not there."""
        return self.folder / "model"

    @property
    def facts(self) -> Path:
        """Figures of the finished training; written last."""
        return self.folder / "done.json"


def snapshot_of(folder: Path, step: int) -> Path:
    """Where the snapshot after so many steps lies: names sort as steps do."""
    return folder / f"step_{step:08d}"


def counting(settings: ModelSettings) -> dict[str, Any]:
    """What another value of makes another training: snapshots are made at checkpoints, where they are asked for."""
    if settings.stop != "steps":
        return settings.model_dump(mode="json", exclude=OPERATIONAL - {"checkpoint_every"})
    return settings.model_dump(mode="json", exclude=OPERATIONAL | {"stop"})


def common(captions: Iterable[str], most: int = 16) -> tuple[str, ...]:
    """The most frequent captions, at most so many; those that are as frequent by their letters."""
    counts = Counter(captions)
    return tuple(sorted(counts, key=lambda caption: (-counts[caption], caption))[:most])


def name_of(settings: ModelSettings, data: DataSettings, images: TrainingData, seed: int, looked_at: str | None = None) -> str:
    """The folder's name: equal names make equal models, and may go on from each other's checkpoints.

    How the work is laid out does not count: a checkpoint is read by any number of workers, at any ZeRO stage. Of a base its
    weights count, not where they lie or what they are called. `looked_at`: the fingerprint of those who end the training.

    Raises:
        UserError: there is no such base.
    """
    base = {"looked_at": looked_at} if looked_at else {}
    if settings.base is not None:
        from pd.diffusion.pretrained import locate  # brings diffusers

        base |= {"base": digest_folder(locate(settings.base, settings.revision))}
    return digest_of(
        {
            **base,
            "settings": counting(settings),
            "data": {"size": data.size, "mode": data.mode},
            "images": images.fingerprint(),
            "seed": seed,
        }
    )


def is_finished(settings: ModelSettings, data: DataSettings, images: TrainingData, seed: int, work: Path) -> bool:
    """Whether this training has left its model and facts in its folder below `work`."""
    seed = seed if settings.seed is None else settings.seed
    job = Job(settings, data, seed, work.resolve() / name_of(settings, data, images, seed))
    return there(job.facts)
