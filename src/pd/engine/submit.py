"""A run handed to a Ray cluster's job server: its settings and this code go there, its log comes back."""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

import pd
from pd.config import Settings
from pd.errors import STOPPED, UserError
from pd.progress import Reporter

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

SETTINGS = "settings.yaml"
COMMANDS = ("run", "ingest", "reid", "teacher", "generate", "filter", "sweep", "student", "audit", "report", "plan", "doctor")
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # between attempts to reach a job server that does not answer


def submit(settings: Settings, command: str, reporter: Reporter, follow: bool = True) -> int:
    """Submit `pd COMMAND` with these settings, and follow its log to its end.

    The job is a copy of this `pd`, so that the cluster runs what was tried here; torch, Ray and the rest are the cluster's.

    Args:
        settings: of the run; `cluster` says where to and what the job itself needs.
        command: one of `COMMANDS`.
        reporter: tells the job's name, and what stands in its log goes to stdout.
        follow: whether to wait for its end; Ctrl-C stops the waiting, not the job.

    Returns:
        The job's exit code, which is `pd`'s; 130 when somebody stopped it; 0 without `follow`.

    Raises:
        UserError: no job server answers, or it does not let us in; or it does not answer any more while the job runs.
    """
    cluster = settings.cluster
    client = job_server(cluster.address)
    with tempfile.TemporaryDirectory(prefix="pd-submit-") as folder:
        _pack(settings, Path(folder))
        job = client.submit_job(
            entrypoint=f"python -m pd.cli {command} {SETTINGS}",
            runtime_env={"working_dir": folder},
            metadata={"run": settings.name},
            entrypoint_num_cpus=cluster.driver_cpus,
            entrypoint_num_gpus=cluster.driver_gpus,
        )
    reporter.say(f"submitted as {job}; `ray job logs {job}` and `ray job stop {job}` with --address {cluster.address}")
    if not follow:
        return 0
    try:
        found = _until_its_end(client, job, cluster.address)
    except KeyboardInterrupt:
        reporter.say("no longer following; the job continues")
        sys.exit(STOPPED)  # not by the caller, who would say that it was the job that stopped
    return _exit_code(found, reporter)


def job_server(address: str) -> "JobSubmissionClient":
    """The job server at an address; raises UserError where none answers, or it does not let us in."""
    where = f"cluster.address = {address}"
    if not address.startswith(("http://", "https://")):  # of others Ray makes one by asking, a minute long and not in words
        raise UserError(
            "not a Ray job server's address", code="bad-value", where=where, fix="write http://HOST:8265, as `ray start` said"
        )
    # Ray reads this when it is imported. Where there is a token it is meant to be used.
    token = Path.home() / ".ray" / "auth_token"
    if token.exists() or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        raise UserError(
            "the job server wants another token",
            code="cluster-refused",
            where=where,
            fix="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what the cluster was started with",
        ) from None
    except (ConnectionError, OSError):
        raise UserError(
            "no Ray job server answers",
            code="no-cluster",
            where=where,
            fix="start one with `ray start --head`, or reach the cluster's by `ssh -L 8265:127.0.0.1:8265 HEAD`",
        ) from None
    except (RuntimeError, ValueError) as error:
        raise UserError(f"not a Ray job server ({str(error).splitlines()[0]})", code="bad-value", where=where) from None


def _pack(settings: Settings, folder: Path) -> None:
    """What is uploaded: this package and the settings, no data."""
    shutil.copytree(Path(pd.__file__).parent, folder / "pd", ignore=shutil.ignore_patterns("__pycache__"))
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def _until_its_end(client: "JobSubmissionClient", job: str, address: str) -> "JobDetails":
    """Show a job's log until it has ended, through connections that drop.

    Raises:
        UserError: the server has not answered for a minute.
    """
    from aiohttp import ClientError

    shown, pauses = _Shown(), iter(PAUSES_S)
    while True:
        try:
            with suppress(RuntimeError, OSError, ClientError):  # the connection dropped: is there still a server?
                asyncio.run(_follow(client, job, shown))
            found = client.get_job_info(job)
            if found.status.is_terminal():
                return found
            pauses = iter(PAUSES_S)
        except (RuntimeError, OSError):
            pass
        pause = next(pauses, None)
        if pause is None:
            raise UserError(
                "lost sight of the job; it continues",
                code="no-cluster",
                where=f"cluster.address = {address}",
                fix=f"once the server can be reached, `ray job logs --follow {job} --address {address}` shows it again",
            )
        time.sleep(pause)


@dataclass
class _Shown:
    """How many characters of a log have been shown: who asks again is told all from the beginning."""

    count: int = 0


async def _follow(client: "JobSubmissionClient", job: str, shown: _Shown) -> None:
    told = 0
    async for lines in client.tail_job_logs(job):
        new = lines[max(0, shown.count - told) :]
        told += len(lines)
        shown.count = max(shown.count, told)
        sys.stdout.write(new)
        sys.stdout.flush()


def _exit_code(found: "JobDetails", reporter: Reporter) -> int:
    from ray.job_submission import JobStatus

    if found.status == JobStatus.STOPPED:
        return STOPPED
    if found.driver_exit_code is None:  # it never began, or its machine is gone
        reporter.say(f"the job ended as {found.status}: {(found.message or 'no reason given').splitlines()[0]}")
        return 1
    return int(found.driver_exit_code)
