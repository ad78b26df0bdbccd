"""`pd submit` against a job server that is made up: what it sends, and how each end of a job is told."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientError
from ray.job_submission import JobStatus
from terminal import ROOT

from pd.cli import main


class Server:
    """A job server that runs nothing.

    Args:
        status: how the job ends.
        code: of its process; None: it had none.
        interrupted: whether somebody presses Ctrl-C while the log is followed.
        drops: what happens to the connection before the job's end, time after time: nothing is a clean close.
        away: how often it does not answer whether the job has ended.
    """

    def __init__(
        self,
        status: JobStatus,
        code: int | None,
        interrupted: bool = False,
        drops: Sequence[Exception | None] = (),
        away: int = 0,
    ) -> None:
        self._drops, self._away, self._lines = list(drops), away, 1
        self._end = SimpleNamespace(status=status, driver_exit_code=code, message="no machine\nand more")
        self._interrupted = interrupted
        self.sent: dict[str, Any] = {}
        self.files: set[str] = set()

    def submit_job(self, **sent: Any) -> str:
        self.sent = sent
        folder = Path(sent["runtime_env"]["working_dir"])
        self.files = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        return "raysubmit_1"

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        if self._interrupted:
            raise KeyboardInterrupt
        yield f"what {job} printed\n"
        for line in range(1, self._lines):  # from the beginning, each time
            yield f"line {line}\n"
        if self._drops:
            self._lines += 1
            if error := self._drops[0]:
                self._drops.pop(0)
                raise error

    def get_job_info(self, job: str) -> SimpleNamespace:
        if self._away:
            self._away -= 1
            raise ConnectionError("no route")
        if self._drops:
            self._drops.pop(0)
            return SimpleNamespace(status=JobStatus.RUNNING)
        return self._end


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`main` is for a process of its own: it sets the umask, and what SIGTERM does, and ends it."""
    monkeypatch.setattr("pd.cli.entry.leave", sys.exit)
    umask, handler = os.umask(0o077), signal.getsignal(signal.SIGTERM)
    yield
    os.umask(umask)
    signal.signal(signal.SIGTERM, handler)


def submit(server: Server, patch: pytest.MonkeyPatch, *words: str) -> int:
    patch.setattr("pd.engine.submit.job_server", lambda address: server)
    patch.setattr(sys, "argv", ["pd", "submit", str(ROOT / "configs" / "smoke.yaml"), *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("status", "code", "exits", "says"),
    [
        (JobStatus.SUCCEEDED, 0, 0, "submitted as raysubmit_1"),
        (JobStatus.FAILED, 2, 2, "submitted as raysubmit_1"),
        (JobStatus.FAILED, None, 1, "the job ended as FAILED: no machine"),
        (JobStatus.STOPPED, None, 130, "stopped; the same command resumes from what is finished"),
    ],
)
def test_it_ends_as_the_job_does(
    status: JobStatus,
    code: int | None,
    exits: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert submit(Server(status, code), monkeypatch) == exits
    printed = capsys.readouterr()
    assert printed.out == "what raysubmit_1 printed\n"
    assert printed.err.count(says) == 1


def test_a_connection_that_drops_does_not_end_the_following(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    server = Server(JobStatus.FAILED, 3, drops=[None, RuntimeError("closed with 1006"), ClientError()], away=3)
    assert submit(server, monkeypatch) == 3
    printed = capsys.readouterr()
    assert printed.out.splitlines()[:3] == ["what raysubmit_1 printed", "line 1", "line 2"]
    assert len(printed.out.splitlines()) == len(set(printed.out.splitlines()))
    assert "ended as" not in printed.err
    assert slept[:3] == [1.0, 2.0, 4.0]


def test_a_server_that_is_gone_is_told_as_such(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert submit(Server(JobStatus.RUNNING, None, away=10**9), monkeypatch) == 2
    said = capsys.readouterr().err
    assert "lost sight of the job; it continues. once the server can be reached, `ray job logs --follow raysubmit_1" in said


def test_ctrl_c_leaves_the_job_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(Server(JobStatus.RUNNING, None, interrupted=True), monkeypatch) == 130
    said = capsys.readouterr().err
    assert "no longer following; the job continues" in said
    assert "stopped" not in said


def test_a_job_is_this_pd_its_settings_and_a_command_and_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(JobStatus.SUCCEEDED, 0)
    assert submit(server, monkeypatch, "--stage", "sweep", "--no-follow") == 0
    assert server.sent["entrypoint"] == "python -m pd.cli sweep settings.yaml"
    assert {"settings.yaml", "pd/cli/__main__.py"} <= server.files
    assert not [name for name in server.files if not name.startswith("pd") and name != "settings.yaml"]
