"""Progress as lines of a file on shared storage: rank 0 writes, the driver follows, a finished run keeps its curve."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pd.engine.training.tracking import Tracker

EVERY_S = 1.0

Record = dict[str, Any]
"""step, steps, and figures by name."""
Tell = Callable[[Record], None]


class ProgressWriter:
    """Appends records to a file, TensorBoard events beside it, and tells whoever listens in this process.

    Args:
        path: the file; None: write nothing (all ranks but 0).
        tensorboard: folder for event files.
        tell: called with each record.
        tracker: told of the figures too.
    """

    def __init__(self, path: Path | None, tensorboard: Path, tell: Tell | None = None, tracker: Tracker | None = None) -> None:
        self._path, self._tell, self._tracker, self._last = path, tell, tracker, 0.0
        self._events = None
        if path is not None:
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(str(tensorboard))

    def due(self) -> bool:
        """Whether it is time for a record."""
        return self._path is not None and time.monotonic() - self._last >= EVERY_S

    def write(self, step: int, steps: int, **figures: Any) -> None:
        """Append a record, whether it is due or not."""
        if self._path is None or self._events is None:
            return
        self._last = time.monotonic()
        group = figures.get("phase", "training")
        scalars = {f"{group}/{name}": value for name, value in figures.items() if isinstance(value, float)}
        if self._tracker:
            self._tracker.log(step, scalars)
            if self._tracker.lost:
                figures["mlflow"] = f"does not answer ({self._tracker.lost})"
        record = {"step": step, "steps": steps, **figures}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)
        if self._tell:
            self._tell(record)

    def picture(self, step: int, pixels: np.ndarray) -> None:
        """Show a picture (H, W, C) uint8 in TensorBoard, and nowhere else."""
        if self._events is not None:
            self._events.add_image("samples", pixels, step, dataformats="HWC")

    def close(self, finished: bool) -> None:
        """Write out what is buffered, and tell the tracker whether the training came to its end."""
        if self._events is not None:
            self._events.close()
        if self._tracker is not None:
            self._tracker.close(finished)


class ProgressReader:
    """Follows a progress file from where it ends now; a line that is not whole yet waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def latest(self) -> Record | None:
        """The newest record since the last call; None when there is none."""
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = whole.splitlines()
        return dict(json.loads(lines[-1])) if lines else None
