"""What happened in a run, for machines: one JSON line an event, with time, run and stage, in the run's work folder.

`event("shard", shard=7, rows=512)` from anywhere; nothing is kept outside of `recorded`. Numbers are taken, and a few
words of our own, so that no caption, name or path of a person can get in.
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

_LOG = logging.getLogger("pd.events")
_LOG.propagate = False
_LOG.setLevel(logging.INFO)
_LOG.addHandler(logging.NullHandler())
_STAGE: ContextVar[str | None] = ContextVar("stage", default=None)
_WORDS = ("task", "phase", "error")  # fields whose values are words of our own


def event(name: str, /, **fields: object) -> None:
    """Record an event.

    Args:
        name: of the event: `shard`, `progress`, ...
        fields: finite numbers; words only as task, phase or error. Others are left out.
    """
    _LOG.info(name, extra={"fields": {key: value for key, value in fields.items() if _public(key, value)}})


@contextmanager
def recorded(path: Path, run: str) -> Iterator[None]:
    """Append the events of this process to a file, for as long as the context lasts.

    Args:
        path: the file, in a folder that is the owner's alone.
        run: the run's name, in every line.
    """
    handler = _File(path, encoding="utf-8")
    path.chmod(0o600)
    handler.setFormatter(_Lines(run))
    _LOG.addHandler(handler)
    try:
        with _timed("run"):
            yield
    finally:
        _LOG.removeHandler(handler)
        with suppress(OSError):
            handler.close()


@contextmanager
def staged(stage: str) -> Iterator[None]:
    """Name the stage in every event of the context, and record when it begins and how it ends."""
    token = _STAGE.set(stage)
    try:
        with _timed("stage"):
            yield
    finally:
        _STAGE.reset(token)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    begin = time.monotonic()
    event(f"{what} started")
    try:
        yield
    except BaseException as error:
        event(f"{what} failed", seconds=round(time.monotonic() - begin, 2), error=type(error).__name__)
        raise
    event(f"{what} finished", seconds=round(time.monotonic() - begin, 2))


def _public(key: str, value: object) -> bool:
    if isinstance(value, int | float):
        return math.isfinite(value)
    return key in _WORDS and isinstance(value, str)


class _File(logging.FileHandler):
    """A full disk costs events, and no traceback each: whoever writes what matters there says it in words."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _Lines(logging.Formatter):
    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def format(self, record: logging.LogRecord) -> str:
        now = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "event": record.msg, "run": self._run, "stage": _STAGE.get()}
        return json.dumps(line | record.__dict__["fields"])
