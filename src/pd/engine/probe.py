"""A few seconds of each kind of work, on this machine: what `pd plan` reckons with."""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import torch

from pd.config import DataSettings, ModelSettings, Settings
from pd.dataset.decoding import Good, decoded_rows
from pd.dataset.images import Pixels, to_arrays
from pd.dataset.private import PrivateDataset
from pd.dataset.readers.bucket import fetched
from pd.dataset.readers.choose import open_source
from pd.diffusion.components import Components, build
from pd.diffusion.data import TrainingData
from pd.diffusion.elsewhere import check_trained
from pd.diffusion.sampler import Sampler
from pd.engine.runtime import split_batch
from pd.engine.training.train import train_model
from pd.errors import UserError
from pd.filters.gallery import build_gallery
from pd.filters.scorer import Scorer
from pd.filters.table import scored_table, write_table
from pd.progress import Reporter
from pd.reid.network import build as build_network
from pd.reid.network import save_all
from pd.reid.train import fit

IMAGES = 64  # of the data, evenly out of all of them
SECONDS = 6.0  # of training at most, once it runs; a step more if it is longer
REID_STEPS = 3
TRAINING_BYTES = 16  # a parameter takes: its weight, its average, and AdamW's two moments, float32 each


@dataclass(frozen=True)
class Training:
    """How fast a model trains here: images a second over all of the machine; None, and why, where that was not measured."""

    images_per_s: float | None
    parameters: int | None
    why: str | None = None


@dataclass(frozen=True)
class Rates:
    """What was measured.

    Attributes:
        hardware: for people.
        cores: CPUs that this process may use.
        gpu: training, sampling and scoring ran on one.
        images: rows of the data.
        decoded: images decoded a second, on all cores.
        image_bytes: of a decoded image as PNG.
        reid: images a second that a re-identification network trains on, on all cores.
        teacher, student: their training.
        sampled, scored: candidates a second, of one worker (a GPU or its part, or one core).
        sampled_here: samples a second for the audit: of a GPU where `audit.gpus_per_worker` asks for one, else of all cores.
        candidate_bytes: of a candidate with its scores, in a shard.
        why: stage -> why its rate is not known.
    """

    hardware: str
    cores: int
    gpu: bool
    images: int
    decoded: float
    image_bytes: float
    reid: float
    teacher: Training
    student: Training
    sampled: float | None
    sampled_here: float | None
    scored: float
    candidate_bytes: float
    why: Mapping[str, str]


class _Enough(Exception):
    """Ends a training that is only measured."""


def measure(settings: Settings, reporter: Reporter) -> Rates:
    """Read, train, sample and score a little, with the settings' own models and sizes; nothing is kept.

    Raises:
        UserError: the data cannot be read, or settings do not fit together.
    """
    check_trained(settings.teacher)
    gpu = torch.cuda.is_available()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = _busy(cores)  # before the probe adds to it
    reporter.say("probing: images")
    total, good, decoded = _read(settings)
    images = to_arrays({"bytes": row.png, "path": None} for row in good)
    people = [row.row.identity for row in good]
    with tempfile.TemporaryDirectory(prefix="pd-plan-") as scratch:
        folder = Path(scratch)
        reporter.say("probing: re-identification and scoring")
        reid, scored, candidate_bytes = _reid(settings, images, people, folder)
        trained: dict[str, Training] = {}
        for name, model in (("teacher", settings.teacher), ("student", settings.student)):
            reporter.say(f"probing: {name}")
            if model.trained is not None:
                trained[name] = Training(None, None, "it is trained elsewhere")
                continue
            same = name == "student" and model == settings.teacher
            trained[name] = trained["teacher"] if same else _training(settings, model, images, folder / name)
        reporter.say("probing: samples")
        why = {name: found.why for name, found in trained.items() if found.why}
        sampled = sampled_here = None
        try:
            sampled = _sampling(settings, 1, "cuda" if gpu and settings.generate.gpus_per_worker else "cpu")
            sampled_here = _sampling(settings, cores, "cuda" if gpu and settings.audit.gpus_per_worker else "cpu")
        except UserError as error:
            why["generate"] = why["audit"] = str(error)
    bytes_each = float(np.mean([len(row.png) for row in good]))
    hardware = torch.cuda.get_device_name() if gpu else f"{cores} cores ({platform.machine()}), no GPU"
    return Rates(
        hardware=hardware + busy,
        cores=cores,
        gpu=gpu,
        images=total,
        decoded=decoded,
        image_bytes=bytes_each,
        reid=reid,
        teacher=trained["teacher"],
        student=trained["student"],
        sampled=sampled,
        sampled_here=sampled_here,
        scored=scored,
        candidate_bytes=candidate_bytes,
        why=why,
    )


def _busy(cores: int) -> str:
    """Said of a machine that more processes want to run on than it has cores: what is measured on it is too slow."""
    load = os.getloadavg()[0]
    return f", busy with other work (load {load:.0f}), so slower than it can be" if load > cores else ""


def _read(settings: Settings) -> tuple[int, list[Good], float]:
    with fetched(settings.data) as data:
        return _read_here(data)


def _read_here(data: DataSettings) -> tuple[int, list[Good], float]:
    source = open_source(data)
    rows = list(islice(source.rows(), 0, None, max(1, source.total // IMAGES)))[:IMAGES]
    begin = time.perf_counter()
    good = [row for row in decoded_rows(rows, data) if isinstance(row, Good)]
    if not good:
        raise UserError(
            f"of {len(rows)} images tried none can be used", code="no-images", where=source.where, fix="see `pd ingest`"
        )
    return source.total, good, len(rows) / (time.perf_counter() - begin)


def _reid(settings: Settings, images: Pixels, people: list[str], folder: Path) -> tuple[float, float, float]:
    """Images a second trained on and scored, and bytes of a scored one."""
    device = "cuda" if torch.cuda.is_available() and settings.reid.gpus_per_worker else "cpu"
    network = build_network(settings.reid, settings.seed).to(device)
    if len(set(people)) < 2:
        people = [str(k % 2) for k in range(len(people))]  # one photo a person, or too few looked at: only speed matters
    how = settings.reid
    views = min(how.identities_per_batch, len(set(people))) * how.images_per_identity

    def train(steps: int) -> None:
        fit(
            network,
            images,
            people,
            steps=steps,
            seed=0,
            identities_per_batch=how.identities_per_batch,
            images_per_identity=how.images_per_identity,
        )

    train(1)
    trained = REID_STEPS * views / _seconds(lambda: train(REID_STEPS))
    network.cpu()
    save_all([network] * how.voters, folder)
    named = [str(k) for k in range(len(images))]
    words = [""] * len(images)
    build_gallery([network] * how.voters, PrivateDataset(named, images, people, ["member"] * len(images), words, {}), folder)
    threads = torch.get_num_threads()
    gpu = torch.cuda.is_available() and settings.generate.gpus_per_worker > 0
    torch.set_num_threads(1)  # as a worker computes
    try:
        scorer = Scorer(folder, folder, "cuda" if gpu else "cpu")
        scorer.score(images[:1])
        begin = time.perf_counter()
        table = scored_table(named, images, scorer.score(images), seed=0, prompts=words)
        scored = len(images) / (time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    write_table(table, folder / "scored.parquet")
    return trained, scored, (folder / "scored.parquet").stat().st_size / len(images)


def _training(settings: Settings, model: ModelSettings, images: Pixels, work: Path) -> Training:
    micro = split_batch(model)
    batch = micro if torch.cuda.is_available() else min(micro, IMAGES)
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available
    try:
        parts = _built(settings, model)
    except UserError as error:
        return Training(None, None, str(error))
    parameters = sum(weight.numel() for part in (parts.unet, parts.vae, parts.text_encoder) for weight in part.parameters())
    del parts
    if (needed := TRAINING_BYTES * parameters) > 0.6 * free:
        return Training(None, parameters, f"it takes {needed / 1e9:.0f} GB to train it, and {free / 1e9:.0f} are free here")
    layout = {"workers": 0, "micro_batch": None, "zero_stage": 0, "offload": "none", "compile": "off"}
    short = {"batch": batch, "steps": 10**6, "checkpoint_every": 10**6, "samples_every": 0, "autoencoder": _autoencoder(model)}
    found: list[float] = []
    since: list[float] = []

    def look(step: int, steps: int, info: Mapping[str, object]) -> None:
        speed = info.get("images/s")
        if isinstance(speed, float):
            since.append(time.perf_counter())
            found.append(speed)
            if len(found) >= 4 or since[-1] - since[0] > SECONDS:
                raise _Enough

    rows = np.arange(max(batch, len(images))) % len(images)
    data = TrainingData(images[rows], [settings.data.generic] * len(rows))
    try:
        train_model(
            model.model_copy(update=layout | short | {"stop": "steps"}), settings.data, data, work / "model", work, 0, look
        )
    except _Enough:
        pass
    except UserError as error:
        return Training(None, parameters, str(error))
    return Training(max(found), parameters)  # the first ones wait for memory and caches


def _autoencoder(model: ModelSettings) -> str:
    return "bundled" if model.autoencoder == "train" else model.autoencoder  # as fast, and there without being fitted


def _built(settings: Settings, model: ModelSettings) -> Components:
    return build(model.model_copy(update={"autoencoder": _autoencoder(model)}), settings.data, 0)


def _sampling(settings: Settings, cores: int, device: str) -> float:
    """Samples a second: what two and four steps take, drawn out to all of them."""
    how, teacher = settings.generate, settings.teacher
    if teacher.trained is not None:
        teacher = ModelSettings(base=str(teacher.trained.expanduser()), autoencoder="base")
    parts = _built(settings, teacher)
    threads = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        one = _sample_seconds(Sampler(parts, mode=settings.data.mode, batch=1, device=device, compiled=False), settings, 1)
        batch = how.batch if device == "cuda" or one * how.batch < SECONDS else 1
        sampler = Sampler(parts, mode=settings.data.mode, batch=batch, device=device, precision=how.precision, compiled=False)
        few, many = _sample_seconds(sampler, settings, 2), _sample_seconds(sampler, settings, 4)
    finally:
        torch.set_num_threads(threads)
    step = max((many - few) / 2, 0.0)
    return batch / (max(few - 2 * step, 0.0) + how.sampler_steps * step if step else many)


def _sample_seconds(sampler: Sampler, settings: Settings, steps: int) -> float:
    ids = list(range(sampler.batch))
    texts = [settings.data.generic] * len(ids)
    return _seconds(lambda: sampler.sample(ids, texts, 0, steps, settings.generate.guidance))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
