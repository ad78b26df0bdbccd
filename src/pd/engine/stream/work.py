"""What every worker of the stream needs: a device, a stopwatch, and the row that says what it did."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pd.engine.stream.shards import Mark


class Stopwatch:
    """Seconds spent on a shard, by phase: tells whether sampling, scoring or writing is the bottleneck."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begin


def done_row(mark: Mark, reasons: Mapping[str, int]) -> dict[str, Any]:
    """What leaves a worker of a finished shard; mappings as JSON, for Ray Data would make one wide type of them all."""
    words = {"seconds": json.dumps(mark.seconds), "reasons": json.dumps(reasons)}
    return {"index": mark.index, "rows": mark.stop - mark.start, "bytes": mark.size, **words}


def bottleneck(seconds: Mapping[str, float]) -> dict[str, str]:
    """The phase that most of the workers' seconds went into, as a figure worth showing; none when nothing was done."""
    if not (whole := sum(seconds.values())):
        return {}
    slowest = max(seconds, key=lambda phase: seconds[phase])
    return {"bottleneck": f"{slowest} {seconds[slowest] / whole:.0%}"}


def use_device(gpus: float) -> str:
    """The device of an actor that holds so many GPUs.

    One thread on a CPU: sums are then split the same way whatever else runs, and no number depends on the layout.
    """
    import torch  # slow to import, and drivers and what only waits do without

    torch.set_num_threads(1)
    return "cuda" if gpus else "cpu"
