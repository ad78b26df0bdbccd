"""pd inside a job that was submitted to a Ray cluster: where its files lie, and where its workers find pd."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pd
from pd.config import PublicSettings, Settings
from pd.config.base import Section
from pd.config.labels import LabelsSettings
from pd.config.semi_vit import SemiVitSettings

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

    A job works in a copy of what was submitted, which Ray deletes, so relative paths are those below PD_HOME, or below the
    home folder where that is not set. A name that may also be a hub id or a tag is a path where there is such a file.
    """
    if not in_job():
        return settings
    home = Path(os.environ.get(HOME) or Path.home()).absolute()
    data = settings.data
    if data.path is not None:
        data = data.model_copy(update={"path": _at(home, data.path)})
    bases = {name: _below(home, getattr(settings, name), "base") for name in ("teacher", "student")}
    audit = {
        "attackers": tuple(_weights(home, name) for name in settings.audit.attackers),
        **{name: (given := getattr(settings.audit, name)) and _weights(home, given) for name in ("features", "adherence")},
        "few_labels": _few(home, settings.audit.few_labels),
    }
    mlflow = settings.tracking.mlflow
    if mlflow and ":" not in mlflow and mlflow != "databricks":
        mlflow = str(home / mlflow)
    return settings.model_copy(
        update={
            "runs": _at(home, settings.runs),
            "data": data,
            **bases,
            "reid": _taught(home, _below(home, settings.reid, "weights")),
            "public": settings.public and _public(home, settings.public),
            "labels": settings.labels and _labels(home, settings.labels),
            "audit": settings.audit.model_copy(update=audit),
            "tracking": settings.tracking.model_copy(update={"mlflow": mlflow}),
        }
    )


def _at(home: Path, path: Path) -> Path:
    """One in the mirror of a bucket is absolute, and stays of its class."""
    return path if path.is_absolute() else home / path


def _below(home: Path, section: Section, key: str) -> Section:
    """The section with a path that is there below `home` instead of what may be the name of something else."""
    return section.model_copy(update={key: _there(home, getattr(section, key))})


def _taught(home: Path, reid: Section) -> Section:
    """The section with its teacher's file or folder below `home`."""
    teacher: str | None = getattr(reid, "teacher", None)
    return reid if teacher is None else reid.model_copy(update={"teacher": _there(home, _weights(home, teacher))})


def _public(home: Path, public: PublicSettings) -> PublicSettings:
    """The section with its path below `home`."""
    return public.model_copy(update={"path": _at(home, public.path)})


def _labels(home: Path, labels: LabelsSettings) -> LabelsSettings:
    """The section with its votes and weights below `home`."""
    votes = labels.votes and _at(home, labels.votes)
    return labels.model_copy(update={"votes": votes, "semi_vit": _few(home, labels.semi_vit)})


def _few(home: Path, few: SemiVitSettings) -> SemiVitSettings:
    """The section with its network's weights below `home`."""
    weights = few.network.weights and _at(home, few.network.weights)
    return few.model_copy(update={"network": few.network.model_copy(update={"weights": weights})})


def _there(home: Path, name: str | None) -> str | None:
    return str(home / name) if name and (home / name).exists() else name


def _weights(home: Path, attacker: str) -> str:
    """An attacker's name with its weights as an absolute path, where they are a file or a folder."""
    kind, _, place = attacker.partition(":")
    if kind in ("network", "onnx") and place:
        return f"{kind}:{home / place}"
    if kind in ("open_clip", "torchvision", "timm"):
        architecture, slash, file = place.partition("/")
        return f"{kind}:{architecture}{slash}{_there(home, file)}"
    return attacker


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
