"""A training's figures and settings in MLflow, where the settings name one: never captions, names, pictures or paths.

A thread of its own does all the talking, so that no step waits for a server. What cannot be sent is kept, as far as there is
room, and tried again; a training does not fail for it.
"""

import importlib.util
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pd.config import TrackingSettings
from pd.engine.training.definition import Job
from pd.errors import UserError
from pd.store.atomic import write_json

RETRY_S = 60.0  # after a failure
CLOSE_S = 15.0  # that the end of a training waits for a server, at most
_AT_ONCE = 1000  # MLflow takes no more figures in a call
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_KEPT = 100_000  # figures that wait for a server that is down; then the oldest go

# MLflow reads these when it is imported: a folder is fine for one person, nobody else is told of its use, and a server that is
# down is for us to ask again.
_ENVIRONMENT = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def located(tracking: TrackingSettings | None) -> TrackingSettings | None:
    """The same settings with a folder as an absolute address, for workers stand elsewhere; None when nothing is to be told.

    Raises:
        UserError: MLflow is wanted and not installed.
    """
    if tracking is None or tracking.mlflow is None:
        return None
    where = "tracking.mlflow"  # not its value: it may hold a password
    if importlib.util.find_spec("mlflow") is None:
        raise UserError(
            "MLflow is not installed",
            code="missing-package",
            where=where,
            fix="pip install mlflow-skinny, or leave tracking.mlflow empty",
        )
    scheme, colon, _ = tracking.mlflow.partition(":")
    if scheme.partition("+")[0] in _DATABASES and importlib.util.find_spec("sqlalchemy") is None:
        raise UserError(
            "MLflow needs sqlalchemy for a database",
            code="missing-package",
            where=where,
            fix="pip install mlflow, or name a folder",
        )
    if colon or tracking.mlflow == "databricks":
        return tracking
    return tracking.model_copy(update={"mlflow": Path(tracking.mlflow).resolve().as_uri()})


class Tracker:
    """One run in MLflow. An interrupted training continues its run.

    Args:
        job: the run's id is kept beside its checkpoints.
        tracking: as `located` has it.

    Attributes:
        lost: why nothing arrives at present; None while all is well.
    """

    def __init__(self, job: Job, tracking: TrackingSettings) -> None:
        self.lost: str | None = None
        self._job, self._tracking, self._status = job, tracking, "FAILED"
        self._client: Any = None
        self._run = ""
        self._backlog: deque[tuple[str, float, int, int]] = deque(maxlen=_KEPT)
        self._new, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Hand over the figures of a step; returns at once."""
        now = int(time.time() * 1000)
        self._backlog.extend((name, value, now, step) for name, value in figures.items())
        self._new.set()

    def close(self, finished: bool) -> None:
        """Send what is left and end the run, if the server answers in time."""
        self._status = "FINISHED" if finished else "FAILED"
        self._over.set()
        self._new.set()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        while not self._over.is_set():
            self._new.wait()
            self._new.clear()
            if not self._tried():
                self._over.wait(RETRY_S)
        self._tried(end=True)

    def _tried(self, end: bool = False) -> bool:
        """Send all that waits, and at the end how it ended; whether that went well."""
        try:
            self._send()
            if end:
                self._client.set_terminated(self._run, self._status)
        except Exception as error:  # whatever a server, a network or a version may come up with
            self.lost = type(error).__name__
            return False
        self.lost = None
        return True

    def _send(self) -> None:
        if self._client is None:
            self._open()
        from mlflow.entities import Metric

        while self._backlog:
            some = [self._backlog.popleft() for _ in range(min(_AT_ONCE, len(self._backlog)))]
            try:
                self._client.log_batch(self._run, metrics=[Metric(*figure) for figure in some])
            except Exception:
                self._backlog.extendleft(reversed(some))
                raise

    def _open(self) -> None:
        for key, value in _ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self._tracking.mlflow)
        self._run = self._go_on(client) or self._begin(client)
        self._client = client

    def _go_on(self, client: Any) -> str | None:
        """The run of an earlier attempt; None when there was none, or it was another server's, or somebody deleted it."""
        from mlflow.exceptions import MlflowException

        if not self._job.tracked.exists():
            return None
        kept = json.loads(self._job.tracked.read_text(encoding="utf-8"))
        run: str = kept.pop("run")
        if kept != self._tracking.model_dump():
            return None
        try:
            client.update_run(run, status="RUNNING")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run

    def _begin(self, client: Any) -> str:
        from mlflow.entities import Param

        job, tracking = self._job, self._tracking
        experiment = client.get_experiment_by_name(tracking.experiment)
        number = experiment.experiment_id if experiment else client.create_experiment(tracking.experiment)
        run: str = client.create_run(number, run_name=job.folder.parent.name).info.run_id
        client.log_batch(run, params=[Param(key, str(value)) for key, value in shared_settings(job).items()])
        write_json(job.tracked, tracking.model_dump() | {"run": run})
        return run


def shared_settings(job: Job) -> dict[str, Any]:
    """The settings that others may see: no path of this machine, and nothing of the data but their shape."""
    given = job.settings.model_dump(mode="json")
    shown = {key: "a folder" if isinstance(value, str) and _is_path(value) else value for key, value in given.items()}
    return shown | {"seed": job.seed, "data.size": job.data.size, "data.mode": job.data.mode}


def _is_path(text: str) -> bool:
    """Whether it is, or was, a place on this machine, and not the id of a model on the hub."""
    from pd.diffusion.pretrained import HUB_ID  # torch and more, which a driver need not import

    return "/" in text and (not HUB_ID.fullmatch(text) or Path(text).expanduser().exists())
