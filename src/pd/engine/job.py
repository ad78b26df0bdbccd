"""pd inside a job that was submitted to a Ray cluster: where its files lie, and where its workers find pd."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pd
from pd.config import Settings
from pd.config.mirrored import is_mirrored

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds, and of how many; torch does not look at it
HOME = "PD_HOME"  # a folder that all nodes share; the cluster's files set it
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # what Ray tells the driver of a submitted job


def in_job() -> bool:
    """Whether this process is the driver of a submitted job."""
    return _JOB in os.environ


def lift_thread_limit() -> None:
    """Let a submitted job's driver compute on all of its machine, or its container; to be called before torch is loaded.

    Ray starts it from an actor without CPUs, for which it sets OMP_NUM_THREADS to 1. What whoever submitted has set stays.
    """
    name = "OMP_NUM_THREADS"
    if not in_job() or name in given_environment() or os.environ.get(name) != "1":
        return
    del os.environ[name]
    with contextlib.suppress(OSError, ValueError):  # `max`: all of them
        quota, period = QUOTA.read_text(encoding="utf-8").split()
        os.environ[name] = str(max(1, int(quota) // int(period)))


def submission_id() -> str | None:
    """What `ray job logs` and `ray job stop` call this job; None outside of one."""
    found: str | None = _told().get("metadata", {}).get("job_submission_id")
    return found


def settle(settings: Settings) -> Settings:
    """The settings as a job must read them: elsewhere they stay as they are.

    A job works in a copy of what was submitted, which Ray deletes, so relative paths of the run and of the data are those
    below PD_HOME, or below the home folder where that is not set.
    """
    if not in_job():
        return settings
    home = Path(os.environ.get(HOME) or Path.home()).absolute()
    data = settings.data
    if data.path is not None and not is_mirrored(data.path):
        data = data.model_copy(update={"path": home / data.path})
    runs = settings.runs if is_mirrored(settings.runs) else home / settings.runs
    return settings.model_copy(update={"runs": runs, "data": data})


def search_path() -> list[str]:
    """What workers must have on PYTHONPATH to import pd.

    Of the code that was submitted with a job every node has a copy of its own, where its workers start: the path is relative.
    """
    package = Path(pd.__file__).resolve().parents[1]
    if not in_job():
        return [str(package), *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
    submitted = Path.cwd().resolve()
    return [str(package.relative_to(submitted))] if package.is_relative_to(submitted) else []


def given_environment() -> set[str]:
    """Environment variables that whoever submitted the job has set for its workers; Ray takes no second value."""
    return set(_told().get("runtime_env", {}).get("env_vars", {}))


def _told() -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = json.loads(os.environ.get(_JOB, "{}"))
    return told
