"""Train one diffusion model, on Ray's workers or in this process."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pd.config import DataSettings, ModelSettings, TrackingSettings
from pd.diffusion.data import TrainingData
from pd.engine.cpu.allocator import keeping_memory
from pd.engine.cpu.cores import interrupting, keep_to_own_cores
from pd.engine.runtime import Share, connect, preflight_train, split_batch
from pd.engine.shared_folder import storage
from pd.engine.training.dataset_reference import hand_over
from pd.engine.training.definition import Job, common, name_of, snapshot_of
from pd.engine.training.encode import encode_on_ray
from pd.engine.training.follow import MAX_FAILURES, follow, refuse_given_up
from pd.engine.training.generalise import LookedAt, looks_in, taken
from pd.engine.training.metrics import TrainingMeters
from pd.engine.training.progress_actor import reader_of
from pd.engine.training.progress_file import Tell
from pd.engine.training.stopped import note_settings
from pd.engine.training.tracking import located
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.store.atomic import disk_errors, keep_private
from pd.store.kept import at_hand, discard, there
from pd.store.mirror import committed, refresh

# What the terminal shows of a record, and how: a glance, not a table. A narrow terminal cuts the last ones.
SHOWN: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "phase": ("phase", str),
    "loss": ("loss", float),
    "samples": ("samples", str),
    "mlflow": ("mlflow", str),
    "learning_rate": ("lr", "{:.1e}".format),
    "gradient_norm": ("grad", "{:.2g}".format),
    "images_per_s": ("images/s", float),
    "mfu": ("mfu", "{:.0%}".format),
    "memory_gb": ("memory", "{:.1f} GB".format),
}
REPEAT_S = 1.5  # progress is shown at least this often, if only to say that it is alive


def train_model(
    settings: ModelSettings,
    data: DataSettings,
    images: TrainingData,
    out: Path,
    work: Path,
    seed: int,
    progress: Progress | None = None,
    tracking: TrackingSettings | None = None,
    snapshots: list[Path] | None = None,
    looked_at: LookedAt | None = None,
) -> dict[str, Any]:
    """Train a model and write its averaged weights as a diffusers folder.

    Called again with the same arguments it resumes from the last checkpoint, whatever ended the first call, and does
    not repeat a training that is finished.

    Args:
        settings: of the model and its training.
        data: size and mode of the images.
        images: all that the model learns from.
        out: folder to fill; whoever calls makes it whole or not there.
        work: folder for checkpoints and caches, on storage that all workers share.
        seed: used where the settings name none.
        progress: called at least every two seconds as progress(step, steps, figures).
        tracking: who else is told of the figures; it changes nothing in the training.
        snapshots: where `settings.stop` is `private`: gets the model at each checkpoint, a diffusers folder each.
        looked_at: where `settings.stop` is `generalises`: whose losses say when the training ends.

    Returns:
        steps, loss (mean of the last 100 steps), parameters (trained ones), precision (fp32 or bf16), images_per_s (None: no
        step was left), mfu (None: not known either), memory_gb (the largest worker's peak), and truncated_captions where some
        were cut; of `generalises` also what `pd.engine.training.generalise.taken` says.

    Raises:
        UserError: settings that do not fit the images, the base or the cluster; a training that diverged; a full disk.
    """
    seed = seed if settings.seed is None else settings.seed
    if len(images) == 0:
        raise UserError(
            "there are no images to train on", code="no-images", fix="keep more candidates, or check the data settings"
        )
    split_batch(settings)
    if (settings.stop == "generalises") != (looked_at is not None):
        raise ValueError("those who are looked at belong to `stop: generalises`, and to nothing else")
    folder = work.resolve() / name_of(settings, data, images, seed, looked_at.fingerprint() if looked_at else None)
    job = Job(settings, data, seed, folder, prompts=common(images.captions), tracking=located(tracking))
    if not there(job.facts):
        refresh(job.folder)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(job)
            note_settings(folder, settings)
        if not (job.prepared.exists() or committed(job.prepared)):
            hand_over(images, job.inputs)
        if looked_at is not None:
            looked_at.hand_over(job.looked_at)
        if settings.workers == 0:
            _train_here(job, progress or silent)
        else:
            _train_on_ray(job, len(images), progress or silent)
        _forget(job)
    if snapshots is not None:
        snapshots += sorted(at_hand(job.snapshots).iterdir())
    model, facts = job.model, dict(json.loads(at_hand(job.facts).read_text(encoding="utf-8")))
    if looked_at is not None:
        facts |= taken(looks_in(job.looks))
        model = snapshot_of(job.snapshots, facts["stopped_at"])
    with disk_errors(out):
        shutil.copytree(at_hand(model), out, dirs_exist_ok=True)
    return facts


def _train_here(job: Job, progress: Progress) -> None:
    from pd.engine.training.loop import train_loop
    from pd.engine.training.worker import LocalWorker

    refusal = train_loop(job, LocalWorker(job.folder), lambda record: _show(record, progress))
    if refusal is not None:
        raise refusal


def _train_on_ray(job: Job, images: int, progress: Progress) -> None:
    refuse_given_up(job.folder)
    record: dict[str, Any] = {"step": 0, "steps": job.settings.steps, "phase": "starting"}
    _show(record, progress)
    connect()
    share = preflight_train(job.settings)
    encode_on_ray(job, images, progress)
    job = replace(job, threads=share.threads, alone=share.alone)
    reader, tell = reader_of(job.progress)
    # As the workers were laid out, for Ray would wait for ever for a machine that does not come back.
    laid_out = job.settings.model_copy(update={"cpus_per_worker": share.cpus})
    meters = TrainingMeters(job.folder.parent.name)
    shown = float("-inf")

    def listen() -> bool:
        nonlocal record, shown
        new = reader.latest()
        if new or time.monotonic() - shown > REPEAT_S:
            record, shown = new or record, time.monotonic()
            _show(record, progress)
            meters.show(record)
        return bool(new)

    follow(_trainer(job, share, tell), job.folder, lambda: preflight_train(laid_out), listen)


def _show(record: Mapping[str, Any], progress: Progress) -> None:
    shown = {name: how(record[key]) for key, (name, how) in SHOWN.items() if key in record}
    progress(record["step"], record["steps"], shown)


def _on_worker(config: dict[str, Any]) -> UserError | None:
    """What Ray Train calls on every rank."""
    from pd.engine.training.loop import train_loop
    from pd.engine.training.worker import RayWorker

    keep_private()
    job: Job = config["job"]
    threads, worker = job.threads or 1, RayWorker(job.folder)
    torch.set_num_threads(threads)
    if job.alone and worker.world > 1 and worker.device.type == "cpu":
        keep_to_own_cores(worker.rank, threads)
    with interrupting():
        return train_loop(job, worker, config["tell"])


def _trainer(job: Job, share: Share, tell: Tell | None) -> Any:
    """Ray Train's trainer of this job; its result is a UserError or None."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from pd.engine.training.no_restart import NoRestart

    settings = job.settings
    resources = {"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {})
    return TorchTrainer(
        _on_worker,
        train_loop_config={"job": job, "tell": tell},
        torch_config=TorchConfig(backend="nccl" if share.gpus else "gloo"),
        scaling_config=ScalingConfig(
            # A pair is elastic: Ray Train continues with as many as there are, from the last checkpoint.
            num_workers=settings.workers,
            use_gpu=share.gpus > 0,
            resources_per_worker=resources,
        ),
        run_config=RunConfig(
            name=job.folder.name,
            **storage(job.folder),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[NoRestart()],
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            worker_runtime_env={} if share.gpus else {"env_vars": keeping_memory()},
        ),
    )


def _sweep(job: Job) -> None:
    """Remove what a killed attempt left half written."""
    shutil.rmtree(job.folder / "partial", ignore_errors=True)
    for left in job.folder.glob(".*.partial"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _forget(job: Job) -> None:
    """Remove what a finished training does not need: pixels, latents, optimiser states."""
    kept = {job.model, job.facts, job.progress, job.tensorboard, job.samples, job.snapshots, job.looks}
    discard(job.folder, but=kept)
