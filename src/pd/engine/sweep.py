"""Trials on Ray Tune: two hundred small ones that share what they read, or a few that train and may be stopped early.

Each finished trial, or rung of one, leaves a record: what Tune knows of an experiment is written every few seconds and would
lose the last ones at a kill. A restored trial with a record gives that back and computes nothing.
"""

import importlib
import importlib.util
import json
import logging
import os
import shutil
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pd.config import digest_of
from pd.engine.runtime import connect, unwrap
from pd.engine.waiting import Silence
from pd.errors import UserError
from pd.progress import Progress
from pd.store.kept import at_hand

if TYPE_CHECKING:
    from ray import tune  # else only once Ray runs: it reads its environment when it is imported

Config = Mapping[str, Any]
Figures = Mapping[str, Any]
POLL_S = 0.25
RECORDS = "records"
_AS_WE_LIKE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new engine prints each trial, however quiet it is asked to be
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard of every trial: the records are enough
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # settings may name files by where the user stands
}


def run_grid(
    work: Callable[[Any, Config, int], Figures],
    shared: Any,
    configs: Sequence[Config],
    folder: Path,
    *,
    cpus: float,
    address: str | None,
    progress: Progress,
) -> list[Figures]:
    """One trial for each config, side by side on all of the cluster.

    Args:
        work: called in a worker as work(shared, config, 0); a function of its arguments.
        shared: put into the object store once. Its arrays are mapped into each worker, and read-only there.
        configs: plain JSON values.
        folder: for records and Tune's own state, private, on storage that all nodes share. Called again with it, only what
            is not finished is run; it must be another folder for another `work` or `shared`.
        cpus: of each trial.
        address: the Ray cluster.
        progress: called as trials finish.

    Returns:
        What `work` returned, in the order of `configs`.

    Raises:
        UserError: one that a trial raised, or a folder that others can write to.
    """
    folder = folder.absolute()
    records = at_hand(_records(folder))
    files = [records / f"{digest_of([dict(config), 0])}.json" for config in configs]
    todo = [dict(config) for config, file in zip(configs, files, strict=True) if not file.exists()]
    if todo:
        connect(address)
        from ray import tune

        trial = _with(work, shared, 1, records, {"CPU": cpus})
        # Named by what was to be done in all, so that more trials than last time are another experiment.
        name = f"grid-{digest_of([dict(config) for config in configs])}"
        search = tune.TuneConfig(reuse_actors=True, trial_dirname_creator=_short)
        space = {"trial": tune.grid_search(todo)}

        def tell() -> int:
            done = sum(file.exists() for file in files)
            progress(done, len(files), {})
            return done

        _fit(trial, name, folder, search, space, tell)
    at_hand(records)
    missing = sum(not file.exists() for file in files)
    if missing:
        raise UserError(
            f"{missing} of {len(files)} trials did not finish",
            code="lost-workers",
            where=str(folder),
            fix="run the same command again",
        )
    return [json.loads(file.read_text(encoding="utf-8"))["figures"] for file in files]


def climb(
    work: Callable[[Any, Config, int], Figures],
    shared: Any,
    space: Mapping[str, tuple[float, float] | list[Any]],
    first: Sequence[Config],
    folder: Path,
    *,
    trials: int,
    steps: Sequence[int],
    cpus: float,
    gpus: float,
    seed: int,
    address: str | None,
    progress: Progress,
) -> tuple[list[dict[str, Any]], str]:
    """Trials that climb rungs; ASHA (Li et al., arXiv 1810.05934) stops those that are poor on a rung.

    Args:
        work: called as work(shared, config, rung) for rung 0, 1, ...; must return `merit`, more is better, and `steps`.
        shared: as for `run_grid`.
        space: name -> (from, to), or the values to choose among.
        first: configs to begin with.
        folder: as for `run_grid`.
        trials: how many.
        steps: of each rung, rising.
        cpus: of each trial.
        gpus: of each trial.
        seed: of the searcher.
        address: the Ray cluster.
        progress: called as rungs finish.

    Returns:
        `config`, `rung` and `figures` of every rung that was climbed, and the searcher in words.
    """
    folder = folder.absolute()
    records = _records(folder)
    connect(address)
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler

    searcher, words = _searcher(first[:trials], seed)
    rungs = len(steps)
    ladder = AsyncHyperBandScheduler(time_attr="steps", max_t=steps[-1] + 1, grace_period=steps[0], reduction_factor=2)
    search = tune.TuneConfig(
        metric="merit",
        mode="max",
        num_samples=trials,
        search_alg=searcher,
        scheduler=ladder,
        reuse_actors=False,
        trial_dirname_creator=_short,
    )
    domains = {
        name: tune.uniform(*values) if isinstance(values, tuple) else tune.choice(values) for name, values in space.items()
    }
    trial = _with(work, shared, rungs, records, {"CPU": cpus} | ({"GPU": gpus} if gpus else {}))
    name = f"climb-{digest_of([dict(space), list(steps), trials, [dict(one) for one in first]])}"

    def tell() -> int:
        done = len(list(records.glob("*.json")))
        progress(done, trials * rungs, {})
        return done

    _fit(trial, name, folder, search, domains, tell)
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(at_hand(records).glob("*.json"))]
    return sorted(found, key=lambda one: (digest_of(one["config"]), one["rung"])), words


def _searcher(first: Sequence[Config], seed: int) -> tuple[Any, str]:
    """Optuna where it is installed, else Ray's random search; and which."""
    begin = [dict(config) for config in first]
    if importlib.util.find_spec("optuna"):
        importlib.import_module("optuna").logging.set_verbosity(logging.WARNING)
        from ray.tune.search.optuna import OptunaSearch

        return OptunaSearch(metric="merit", mode="max", points_to_evaluate=begin, seed=seed), "Optuna"
    from ray.tune.search import BasicVariantGenerator

    return BasicVariantGenerator(points_to_evaluate=begin, random_state=seed), "Ray's random search (Optuna is not installed)"


def _with(work: Callable[..., Figures], shared: Any, rungs: int, records: Path, resources: dict[str, float]) -> Any:
    from ray import tune

    from pd.engine.sweep_trial import RungTrial

    bound = tune.with_parameters(RungTrial, work=work, shared=shared, rungs=rungs, records=records)
    return tune.with_resources(bound, resources)


def _fit(
    trial: Any, name: str, folder: Path, search: "tune.TuneConfig", space: dict[str, Any], tell: Callable[[], int]
) -> None:
    """Run an experiment, or what is left of it.

    Args:
        trial: Tune's trainable, with its resources.
        name: of the experiment's folder.
        folder: of records and experiments.
        search: what Tune is to choose among.
        space: of a trial's values.
        tell: shows the progress, and returns how many trials or rungs are done.

    Raises:
        GaveUpError: no machine of the cluster has answered for as long as the settings allow.
        UserError: one that a trial raised.
    """
    for key, value in _AS_WE_LIKE.items():
        os.environ.setdefault(key, value)
    from ray import tune

    path = folder / name
    if _restorable(path):
        tuner = tune.Tuner.restore(str(path), trainable=trial, resume_unfinished=True, restart_errored=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
        run = tune.RunConfig(
            name=name,
            storage_path=str(folder),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # records are all that trials leave
        )
        tuner = tune.Tuner(trial, param_space=space, tune_config=search, run_config=run)
    outcome: dict[str, Any] = {}

    def fit() -> None:
        try:
            outcome["results"] = tuner.fit()
        except BaseException as error:
            outcome["error"] = error

    # In a thread, for two reasons: progress is told from here, and Tune would take Ctrl-C for itself.
    thread = threading.Thread(target=fit, name="ray-tune", daemon=True)
    silence, before = Silence("a trial"), tell()
    thread.start()
    while thread.is_alive():
        if (done := tell()) != before:
            before = done
            silence.heard()
        silence.look()
        thread.join(POLL_S)
    errors = [outcome["error"]] if "error" in outcome else list(outcome["results"].errors)
    if errors:
        raise unwrap(errors[0]) or errors[0]


def _restorable(path: Path) -> bool:
    """Whether Tune can go on: a kill may come before it has written what it knows, or while it does. Records stay anyhow."""
    from ray import tune

    states = sorted(path.glob("experiment_state-*.json"))
    try:
        return bool(states) and bool(json.loads(states[-1].read_text(encoding="utf-8"))) and tune.Tuner.can_restore(str(path))
    except ValueError:
        return False


def _short(trial: Any) -> str:
    """A trial's folder: Tune would put all of its values into the name."""
    return str(trial.trial_id)


def _records(folder: Path) -> Path:
    """The folder of records, made where it is not there.

    Tune's own files beside it are pickles, so nobody else may have written to them.

    Raises:
        UserError: the folder is somebody else's, or others can write to it.
    """
    records = folder / RECORDS
    records.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for path in (folder, *folder.iterdir()):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise UserError(
                "not this user's alone, and it is unpickled", code="unsafe", where=str(path), fix="delete this folder"
            )
    return records
