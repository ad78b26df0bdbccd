"""How a training gets on, where no file of one machine is another's: rank 0 writes it on a board, the driver reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pd.engine.shared_folder import in_bucket
from pd.engine.training.progress_file import ProgressReader, Record, Tell


class _Board:
    """An actor that holds the newest record."""

    def __init__(self) -> None:
        self._record: Record | None = None

    def tell(self, record: Record) -> None:
        self._record = record

    def latest(self) -> Record | None:
        record, self._record = self._record, None
        return record


class BoardReader:
    """The driver's end, as `ProgressReader`; the board is on the driver's own machine, and goes when it does.

    Attributes:
        tell: what rank 0 is given.
    """

    def __init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._board = ray.remote(num_cpus=0, scheduling_strategy=here)(_Board).remote()
        self.tell = _Teller(self._board)

    def latest(self) -> Record | None:
        """The newest record since the last call; None when there is none, or nothing can be heard just now."""
        import ray
        from ray.exceptions import RayError

        try:
            record: Record | None = ray.get(self._board.latest.remote(), timeout=1.0)
        except RayError:
            return None
        return record


class _Teller:
    """Rank 0's end; it can be pickled."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def __call__(self, record: Mapping[str, Any]) -> None:
        self._board.tell.remote(dict(record))


def reader_of(progress: Path) -> tuple[ProgressReader | BoardReader, Tell | None]:
    """How the driver follows a training with this progress file, and what rank 0 must be given for it, if anything."""
    if not in_bucket(progress):
        return ProgressReader(progress), None
    board = BoardReader()
    return board, board.tell
