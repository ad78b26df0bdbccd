"""Shadow models: teachers of other people, of which it is known who learned whom. Never sampled, never released.

How many are worth it by themselves (`audit.shadows: auto`) follows from the settings alone, by counting passes through
networks: a clock would make an audit depend on the machine.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pd.config import DataSettings, ModelSettings, Settings
from pd.dataset.private import PrivateDataset
from pd.dataset.splits import hash_order
from pd.diffusion.data import TrainingData
from pd.engine.machines import machines, machines_for
from pd.engine.runtime import connect
from pd.engine.side_by_side import side_by_side
from pd.engine.training.definition import is_finished
from pd.engine.training.train import train_model
from pd.filters.captions import captions_of
from pd.progress import Progress
from pd.store.context import Context
from pd.store.lineage import read_record

SMALL = ("tiny", "small")  # UNets of which one is quickest trained on one core, beside others


PASSES = 3  # of a training step: forward, and backward, which is two
SHARE = 0.25  # of the teacher's steps, that shadows take by themselves; ours
MOST = 4  # by themselves; ours
WORTH = 0.5  # of the run's own work, that they may add; ours


def shadow_count(settings: Settings) -> int:
    """How many shadow models there are to be."""
    asked = settings.audit.shadows
    if asked != "auto":
        return asked
    if settings.teacher.trained is not None:
        return 0
    most = WORTH * _work(settings) / (shadow_share(settings) * _training(settings.teacher))
    return min(MOST, int(most) // 2 * 2)


def shadow_share(settings: Settings) -> float:
    """Their steps, as a share of the teacher's."""
    return settings.audit.shadow_steps or (SHARE if settings.audit.shadows == "auto" else 1.0)


def _work(settings: Settings) -> float:
    """Passes of a picture through a network in the rest of the run, all networks counted alike: those that take the time."""
    how, arms = settings.generate, settings.audit.arms
    sampled = how.candidates + settings.audit.samples * len(settings.audit.sampled_arms)
    students = 1 + len(settings.audit.trained_arms)
    teachers = 1 + ("early" in arms) + (settings.filter.leak_share if settings.filter.calibration == "leaks" else 0)
    forwards = how.sampler_steps * (2 if how.guidance > 1 else 1)
    return teachers * _training(settings.teacher) + students * _training(settings.student) + sampled * forwards


def _training(model: ModelSettings) -> float:
    return PASSES * model.steps * model.batch


def _model(context: Context) -> ModelSettings:
    """How shadows are trained: as the teacher was, as far as it got; a seed of its own for each, and no pictures for people."""
    model = context.settings.teacher
    record = read_record(context.run.record("teacher")) if model.stop == "generalises" else None
    steps = max(1, round(shadow_share(context.settings) * (record.facts["stopped_at"] if record else model.steps)))
    return model.model_copy(
        update={"seed": None, "samples_every": 0, "stop": "steps", "steps": steps, "warmup": min(model.warmup, steps)}
    )


def shadow_models(context: Context, real: PrivateDataset) -> Iterator[tuple[Path, set[str]]]:
    """`shadow_count` models that are trained as the teacher is, each on half of all people, members and hold-out alike.

    They come in pairs, the second of which learns from those whom the first does not: each image is in half of the shadows.
    Small ones are trained side by side, one core each; others one after another on the teacher's workers. A training that is
    finished is kept under `work/shadows` and not repeated, and one that was stopped resumes.

    Yields:
        a diffusers folder, there until the next is asked for, and the identities that it learned from.
    """
    settings, work = context.settings, context.run.work / "shadows"
    work.mkdir(parents=True, exist_ok=True)
    model = _model(context)
    halves = [_people(real, settings.seed, shadow) for shadow in range(shadow_count(settings))]
    if model.max_workers:
        connect(settings.address)
        if model.base is None and model.unet in SMALL and len(halves) > 1:
            _train_small(context, real, model, halves, work)
    for shadow, people in enumerate(halves):
        named = f"shadow {shadow + 1} of {len(halves)}"
        images = _images(context, real, people)
        with tempfile.TemporaryDirectory(prefix="model-", dir=work) as folder:
            with context.reporter.task(named) as progress, machines_for(settings.cluster, model, progress):
                train_model(model, settings.data, images, Path(folder), work, context.seed("shadow", shadow), progress)
            yield Path(folder), people


def _people(real: PrivateDataset, seed: int, shadow: int) -> set[str]:
    """Whom a shadow learns from."""
    order = hash_order(real.identities, seed, f"shadow pair {shadow // 2}")
    middle = len(order) // 2
    return set(order[:middle] if shadow % 2 == 0 else order[middle:])


def _images(context: Context, real: PrivateDataset, people: set[str]) -> TrainingData:
    half = real.where([identity in people for identity in real.identities])
    return TrainingData(half.images, captions_of(half, context.settings))


def _train_small(context: Context, real: PrivateDataset, model: ModelSettings, halves: list[set[str]], work: Path) -> None:
    """Train all of them, as many at once as the cluster holds. What is made is the same, up to the order of sums."""
    settings = context.settings
    alone = model.model_copy(update={"workers": 0})
    pieces = [
        _Shadow(alone, settings.data, _images(context, real, people), work, context.seed("shadow", shadow))
        for shadow, people in enumerate(halves)
    ]
    with (
        context.reporter.task("shadows") as progress,
        machines(settings.cluster, len(pieces), model.gpus_per_worker, progress),
    ):
        side_by_side(pieces, progress, gpus=model.gpus_per_worker, where="ray")


@dataclass(frozen=True)
class _Shadow:
    """One training, in the process that is given it."""

    model: ModelSettings
    data: DataSettings
    images: TrainingData
    work: Path
    seed: int

    def done(self) -> Path | None:
        return self.work if is_finished(self.model, self.data, self.images, self.seed, self.work) else None

    def __call__(self, progress: Progress) -> Path:
        with tempfile.TemporaryDirectory(prefix="model-", dir=self.work) as folder:
            train_model(self.model, self.data, self.images, Path(folder), self.work, self.seed, progress)
        return self.work
