"""What every worker of the stream needs: a device, and a stopwatch."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Seconds spent on a shard, by phase: tells whether sampling, scoring or writing is the bottleneck."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begin


def use_device(gpus: float) -> str:
    """The device of an actor that holds so many GPUs.

    One thread on a CPU: sums are then split the same way whatever else runs, and no number depends on the layout.
    """
    torch.set_num_threads(1)
    return "cuda" if gpus else "cpu"
