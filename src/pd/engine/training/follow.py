"""A training on Ray's workers, followed from the driver: Ray Train in a thread, progress and bad news told from here."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pd.engine.stream.watch import Stranded
from pd.engine.training.failures import explained
from pd.engine.waiting import Silence
from pd.errors import UserError

MAX_FAILURES = 2  # times that crashed workers are started again, from the last checkpoint
POLL_S = 0.25
_GIVEN_UP: set[Path] = set()  # trainings for which no machine came: their threads wait in Ray as long as this process lives


def refuse_given_up(folder: Path) -> None:
    """Raises UserError when this training waits in this process for a machine that may still come."""
    if folder in _GIVEN_UP:
        raise UserError(
            "this training was given up for lack of a machine; when one comes it would begin beside a second one",
            code="no-resources",
            where=str(folder),
            fix="start a new process",
        )


def follow(trainer: Any, folder: Path, room: Callable[[], object], listen: Callable[[], bool]) -> None:
    """Run Ray Train's trainer to its end.

    Args:
        trainer: whose loop returns what the user did wrong, or None: raised on a worker it would be tried again.
        folder: the training's.
        room: raises what is to be raised when for long no machine has had room for the workers.
        listen: called again and again, to tell of progress; whether there was any.

    Raises:
        UserError: what the loop returned or a worker raised, or what explains Ray's error.
    """
    outcome: dict[str, Any] = {"refusal": None}

    def fit() -> None:
        try:
            outcome["refusal"] = trainer.fit().return_value
        except BaseException as error:
            outcome["error"] = error

    # In a thread, for two reasons: progress is told from here, and Ray Train would take Ctrl-C for itself and keep it.
    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    stranded, silence = Stranded(room), Silence("a step of the training")
    thread.start()
    while thread.is_alive():
        if listen():
            silence.heard()
        try:
            stranded.look()
            silence.look()
        except UserError:
            _GIVEN_UP.add(folder)
            raise
        thread.join(POLL_S)
    listen()
    if error := outcome.get("error"):
        raise explained(error, folder)
    if outcome["refusal"] is not None:
        raise outcome["refusal"]
