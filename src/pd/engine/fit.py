"""Train any task (`pd.training.task`), in this process or on Ray's workers."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pd.config.training import TrainingSettings
from pd.engine.cpu.allocator import keeping_memory
from pd.engine.cpu.cores import interrupting, keep_to_own_cores
from pd.engine.runtime import Share, connect, preflight_workers
from pd.engine.shared_folder import storage
from pd.engine.training.follow import MAX_FAILURES, follow, refuse_given_up
from pd.engine.training.progress_actor import BoardReader
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.store.atomic import disk_errors, keep_private
from pd.store.kept import discard
from pd.training.loop import finished, fit_here
from pd.training.task import Alone, Group, Task

TELL_S = 0.5  # seconds between two records of progress from the workers
REPEAT_S = 1.5  # progress is shown at least this often, if only to say that it is alive


def fit(task: Task, settings: TrainingSettings, work: Path, progress: Progress = silent) -> Path:
    """Train a task, or resume it, or find it finished.

    The weights are the same for any number of workers, up to the order of sums. Checkpoints are read by any number of them, and
    by `fit_here`.

    Args:
        task: what is trained.
        settings: how; with `workers: 0` in this process.
        work: folder for this and other trainings, on storage that all workers share, or the mirror of a bucket.
        progress: called at least every two seconds as progress(step, steps, figures).

    Returns:
        The folder that `task.export` filled, with `facts.json` beside what it wrote.

    Raises:
        UserError: the training diverged, the cluster is too small, a checkpoint cannot be read, a full disk.
    """
    work = work.resolve()
    if settings.max_workers == 0:
        with disk_errors(work):
            return fit_here(task, settings, work, progress, alone(settings.gpus_per_worker))
    if found := finished(task, work):
        return found
    folder = work / task.key
    refuse_given_up(folder)
    progress(0, settings.steps, {"phase": "starting"})
    connect()
    share = _share(settings, None)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    board, shown, record = BoardReader(), float("-inf"), (0, settings.steps, {"phase": "starting"})

    def listen() -> bool:
        nonlocal shown, record
        new = board.latest()
        if new or time.monotonic() - shown > REPEAT_S:
            record = (new["step"], new["steps"], new["figures"]) if new else record
            shown = time.monotonic()
            progress(*record)
        return bool(new)

    config = {"task": task, "settings": settings, "work": work, "share": share, "tell": board.tell}
    follow(_trainer(config, folder), folder, lambda: _share(settings, share.cpus), listen)
    discard(folder / "ray", must=False)
    found = finished(task, work)
    assert found
    return found


def alone(gpus: float) -> Alone:
    """The only rank, in this process: on a GPU where settings ask for one and there is one."""
    return Alone(torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu"))


def _share(settings: TrainingSettings, cpus: float | None) -> Share:
    return preflight_workers((settings.min_workers, settings.max_workers), cpus, settings.gpus_per_worker)


def _on_worker(config: dict[str, Any]) -> UserError | None:
    """What Ray Train calls on every rank; what the user did wrong is returned, for what is raised is tried again."""
    import ray.train.torch

    keep_private()
    share: Share = config["share"]
    ranks = Group(ray.train.torch.get_device())
    torch.set_num_threads(share.threads)
    if share.alone and ranks.world > 1 and ranks.device.type == "cpu":
        keep_to_own_cores(ranks.rank, share.threads)
    try:
        with interrupting(), disk_errors(config["work"]):
            fit_here(config["task"], config["settings"], config["work"], _every(config["tell"]), ranks)
    except UserError as error:
        return error
    return None


def _every(tell: Callable[[Mapping[str, Any]], None]) -> Progress:
    """Progress that tells the board, but not of every step."""
    last = float("-inf")

    def progress(done: int, total: int, info: Mapping[str, object]) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= TELL_S:
            last = time.monotonic()
            tell({"step": done, "steps": total, "figures": dict(info)})

    return progress


def _trainer(config: dict[str, Any], folder: Path) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from pd.engine.training.no_restart import NoRestart

    settings: TrainingSettings = config["settings"]
    share: Share = config["share"]
    return TorchTrainer(
        _on_worker,
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if share.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=settings.workers,
            use_gpu=share.gpus > 0,
            resources_per_worker={"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {}),
        ),
        run_config=RunConfig(
            # Ray's own notes; the checkpoints are the loop's, so that any number of workers resumes from them.
            name="ray",
            **storage(folder / "ray"),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[NoRestart()],
            worker_runtime_env={} if share.gpus else {"env_vars": keeping_memory()},
        ),
    )
