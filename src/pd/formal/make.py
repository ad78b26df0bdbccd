"""From members to a model with a guarantee: encode, plan, warm up, train privately, distil. Its order is the method's."""

import copy
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pd.config import DataSettings, ModelSettings
from pd.config.formal import FormalSettings
from pd.config.training import TrainingSettings
from pd.diffusion import export
from pd.diffusion.adapter import choose_trained, merge
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import Components, build
from pd.dp.noise import NoiseSource
from pd.errors import UserError
from pd.formal import moments
from pd.formal.people import People
from pd.formal.plan import Plan
from pd.formal.private_training import Fit, How, train_privately
from pd.formal.sad import Sad, distil
from pd.formal.warm_up import FreeDenoising, Latents
from pd.progress import Progress
from pd.seeds import derive
from pd.store.atomic import write_json
from pd.training.loop import fit_here
from pd.training.task import Task as TrainingTask

Task = Callable[[str], AbstractContextManager[Progress]]
"""A named progress bar."""

FitMany = Callable[[Sequence[TrainingTask], TrainingSettings, Path, Progress], list[Path]]
"""Trains many tasks, side by side or one after another."""

_SAMPLED = 2048  # of a private teacher, for its student to learn from; ours


@dataclass(frozen=True)
class Order:
    """What a model is made from.

    Attributes:
        settings: of the section `formal`.
        shape: size and mode of the images.
        plan: what may be done with private data.
        captions: C texts; what is said of people by other rules than the ledger's.
        work: checkpoints and the key, private.
        seed: of everything that is no privacy noise.
        fit: the trainer of private steps.
        fit_many: of teachers, side by side; None: one after another in this process.
    """

    settings: FormalSettings
    shape: DataSettings
    plan: Plan
    captions: list[str]
    work: Path
    seed: int
    fit: Fit = fit_here
    fit_many: FitMany | None = None

    @property
    def training(self) -> TrainingSettings:
        """Of what is trained on public or released data."""
        model = self.settings.model
        return TrainingSettings(
            steps=model.steps,
            learning_rate=model.learning_rate,
            weight_decay=model.weight_decay,
            schedule=model.schedule,
            warmup=min(0.9, model.warmup / model.steps),
            clip_norm=model.clip_norm,
            ema=model.ema,
            checkpoint_every=model.checkpoint_every,
        )


def key_of(work: Path, reproducible: bool, seed: int) -> NoiseSource:
    """The key of a making, kept in its private work folder until it is done.

    Raises:
        UserError: what lies there is no key.
    """
    path = work / "key.json"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        work.chmod(0o700)
        fresh = NoiseSource.of_seed(derive(seed, "noise")) if reproducible else NoiseSource.fresh()
        write_json(path, {"key": fresh.key.hex(), "secret": fresh.secret})
        path.chmod(0o600)
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        source = NoiseSource(bytes.fromhex(held["key"]), secret=bool(held["secret"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            "no key of a private training", code="other-inputs", where=str(path), fix="delete the folder to begin anew"
        ) from None
    if source.secret == reproducible:
        raise UserError(
            "a training with another kind of noise was begun here",
            code="other-inputs",
            where=str(work),
            fix="delete the folder to begin anew",
        )
    return source


def make(order: Order, people: People, source: NoiseSource, task: Task, public: Latents | None = None) -> Components:
    """The model.

    Args:
        order: what from.
        people: the members.
        source: of privacy noise.
        task: shows progress.
        public: public pictures' latents, for pre-training.
    """
    settings = order.settings
    if settings.method == "dp_sad" and settings.accounting == "paper":
        return _paper(order, people, source, task)
    if settings.method == "dp_sad" and settings.teacher == "ensemble":
        return _ensemble(order, people, source, task)
    start = make_start(order, people, source, task, public)
    teacher = private_steps(order, people, source, task, start)
    if settings.method == "dp_sgd":
        return teacher
    return _student(order, teacher, start, source, task)


def text_of(components: Components, captions: list[str]) -> Tensor:
    """(C + 1, L, d) embeddings, row 0 of the empty caption and row c + 1 of caption c."""
    table = CaptionTable(components.tokenizer, captions, truncate=True)
    every = embed(components.text_encoder, table.tokens)
    return torch.cat([every[:1], every[table.rows]])


def mean_latents(people: People) -> tuple[np.ndarray, np.ndarray]:
    """Each person's mean latent, (P, d) float64, and caption, (P,): what a person adds to the warm-up's sums."""
    flat = people.latents.flatten(1).double()
    counts = (people.first[1:] - people.first[:-1]).double()
    owner = torch.repeat_interleave(torch.arange(len(people)), people.first[1:] - people.first[:-1])
    total = torch.zeros(len(people), flat.shape[1], dtype=torch.float64).index_add_(0, owner, flat)
    return (total / counts[:, None]).numpy(), people.captions[people.first[:-1]].numpy()


def make_start(order: Order, people: People, source: NoiseSource, task: Task, public: Latents | None) -> Components:
    """The model before its first private step."""
    settings, model = order.settings, order.settings.model
    folder: Path | None = None
    if public is not None:
        key = _key(order, "public")
        with task("public pictures") as progress:
            free = FreeDenoising(key, model, order.shape, derive(order.seed, "public"), order.captions, public)
            folder = fit_here(free, order.training, order.work, progress) / "model"
    if order.plan.warm_up is not None:
        rows, captions = mean_latents(people)
        gaussians = moments.release(
            rows, captions, len(order.captions), len(people), settings.warm_up, order.plan.warm_up, source
        )
        key = _key(order, "warm-up", source.uniform(1, "name of the warm-up")[0].hex())
        with task("warm-up") as progress:
            free = FreeDenoising(key, model, order.shape, derive(order.seed, "warm-up"), order.captions, gaussians, folder)
            folder = fit_here(free, order.training, order.work, progress) / "model"
    if folder is None:
        return build(model, order.shape, derive(order.seed, "start"))
    if model.base is None:
        return export.load(folder)
    return build(model.model_copy(update={"base": str(folder), "revision": None}), order.shape, derive(order.seed, "start"))


def private_steps(order: Order, people: People, source: NoiseSource, task: Task, start: Components) -> Components:
    """DP-SGD from there."""
    settings, parts = order.settings, copy.deepcopy(start)
    choose_trained(parts.unet, settings.model.unet_training)
    parts.text_encoder.requires_grad_(False)
    how = How(
        seed=derive(order.seed, "private"),
        learning_rate=settings.learning_rate,
        ema=settings.ema,
        micro_batch=settings.micro_batch,
        caption_dropout=settings.model.caption_dropout,
        gamma=settings.model.min_snr_gamma,
        checkpoint_every=settings.checkpoint_every,
        workers=settings.workers,
    )
    text = text_of(parts, order.captions)
    with task("private steps") as progress:
        train_privately(parts, people, text, order.plan, how, source, order.work / "private", progress, order.fit)
    merge(parts.unet)
    return parts


def _student(order: Order, teacher: Components, start: Components, source: NoiseSource, task: Task) -> Components:
    """A student of a private teacher: it sees what the teacher makes, and nothing else."""
    student = copy.deepcopy(start)
    student.unet.requires_grad_(True)
    merge(student.unet)
    text = text_of(student, order.captions)
    with task("teacher's samples") as progress:
        latents, rows = sample_latents(teacher, text, order.seed, _SAMPLED, progress)

    def inputs(step: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(rng.integers(0, len(latents), order.settings.model.batch))
        return latents[chosen], text[rows[chosen] + 1]

    how = _sad(order, "free")
    with task("student") as progress:
        distil(student, [teacher.unet.eval()], inputs, how, source, progress)
    return student


def _ensemble(order: Order, people: People, source: NoiseSource, task: Task) -> Components:
    """K teachers on disjoint people; the student asks them through noise, at inputs of its own."""
    settings = order.settings
    student = build(settings.model, order.shape, derive(order.seed, "start"))
    text = text_of(student, order.captions)
    tasks = [
        _unprotected_task(order, _part(people, number, settings.teachers), f"teacher {number}")
        for number in range(settings.teachers)
    ]
    with task("teachers") as progress:
        # of their losses nothing is shown: a loss of private data is no event of the ledger
        folders = (order.fit_many or _one_by_one)(tasks, order.training, order.work, lambda done, of, _: progress(done, of, {}))
    teachers = [_loaded(folder, student).unet for folder in folders]
    shape = student.latent_shape

    def inputs(step: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        noise = torch.from_numpy(rng.standard_normal((settings.model.batch, *shape), dtype=np.float32))
        return noise, text[torch.from_numpy(rng.integers(0, len(order.captions), settings.model.batch)) + 1]

    with task("student") as progress:
        distil(student, teachers, inputs, _sad(order, "ensemble"), source, progress)
    return student


def _paper(order: Order, people: People, source: NoiseSource, task: Task) -> Components:
    """As published: no guarantee."""
    with task("unprotected teacher"):
        student = build(order.settings.model, order.shape, derive(order.seed, "start"))
        teacher = unprotected(order, people, student, "teacher")
    text = text_of(student, order.captions)

    def inputs(step: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(rng.integers(0, len(people.latents), order.settings.model.batch))
        return people.latents[rows], text[people.captions[rows] + 1]

    with task("student") as progress:
        distil(student, [teacher.unet], inputs, _sad(order, "paper"), source, progress)
    return student


def _sad(order: Order, way: str) -> Sad:
    settings = order.settings
    # An ensemble's student takes the steps that are paid for; a free one as many as it likes.
    steps = settings.student_steps if way == "free" else order.plan.steps
    return Sad(
        way,  # type: ignore[arg-type]
        steps,
        settings.model.batch,
        settings.model.learning_rate,
        settings.adversary,
        derive(order.seed, "student"),
        order.plan.clip,
        order.plan.noise,
    )


def unprotected(order: Order, people: People, start: Components, name: str) -> Components:
    """A teacher that nothing protects. What reaches anybody else of it is the caller's to account for."""
    return _loaded(fit_here(_unprotected_task(order, people, name), order.training, order.work), start)


def _unprotected_task(order: Order, people: People, name: str) -> FreeDenoising:
    latents = Latents(people.latents, people.captions)
    seed = derive(order.seed, "start")
    return FreeDenoising(_key(order, name), order.settings.model, order.shape, seed, order.captions, latents)


def _loaded(folder: Path, start: Components) -> Components:
    teacher = export.load(folder / "model")
    teacher.text_encoder = start.text_encoder
    return teacher


def _one_by_one(tasks: Sequence[TrainingTask], how: TrainingSettings, work: Path, progress: Progress) -> list[Path]:
    folders = []
    for task in tasks:
        folders.append(fit_here(task, how, work))
        progress(len(folders), len(tasks), {})
    return folders


def _part(people: People, number: int, parts: int) -> People:
    """Every `parts`-th person."""
    rows: list[int] = []
    first = [0]
    for person in range(number, len(people), parts):
        low, high = int(people.first[person]), int(people.first[person + 1])
        rows += range(low, high)
        first.append(len(rows))
    chosen = torch.tensor(rows)
    return People(people.latents[chosen], people.captions[chosen], torch.tensor(first))


@torch.no_grad()
def sample_latents(
    parts: Components, text: Tensor, seed: int, count: int, progress: Progress, steps: int = 20, batch: int = 128
) -> tuple[Tensor, Tensor]:
    """Latents (n, c, h, w) of a model's samples and the captions' rows, in turn, without guidance."""
    scheduler = copy.deepcopy(parts.scheduler)
    captions = torch.arange(count) % (len(text) - 1)
    made = []
    for start in range(0, count, batch):
        rows = captions[start : start + batch]
        rng = stream_of(seed, start)
        latents = torch.from_numpy(rng.standard_normal((len(rows), *parts.latent_shape), dtype=np.float32))
        scheduler.set_timesteps(steps)
        latents = latents * scheduler.init_noise_sigma
        for time in scheduler.timesteps:
            predicted = parts.unet(latents, time, text[rows + 1]).sample
            latents = scheduler.step(predicted, time, latents).prev_sample
        made.append(latents)
        progress(min(start + batch, count), count, {})
    return torch.cat(made), captions


def stream_of(seed: int, index: int) -> np.random.Generator:
    """Draws of samples."""
    from pd.diffusion.randomness import Purpose, stream

    return stream(derive(seed, "samples"), Purpose.SAMPLE, index)


def _key(order: Order, *names: str) -> str:
    model: ModelSettings = order.settings.model
    from pd.config import digest_of

    return digest_of([model.model_dump(mode="json"), order.captions, order.seed, *names])
