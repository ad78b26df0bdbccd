"""Which cores a training worker computes on, and whom it may be interrupted by."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def not_interrupting() -> Iterator[None]:
    """What is started within does not take a core from whoever computes on it, but waits for its turn (Linux's SCHED_BATCH).

    Each of Ray's processes wakes up a hundred times a second to look whether there is something to do. Beside two workers on
    two cores that was a thousand interruptions a second, and a tenth of their time (benchmarks/RESULTS.md, "Training").
    """
    with _policy("SCHED_BATCH"):
        yield


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """The other way round, for a thread that computes in a process that was started within `not_interrupting`."""
    with _policy("SCHED_OTHER"):
        yield


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Schedule this thread, and what it starts, by a policy; where there is none of this name, nothing changes."""
    policy = getattr(os, name, None)
    if policy is None:  # macOS
        yield
        return
    before = os.sched_getscheduler(0)
    os.sched_setscheduler(0, policy, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, os.sched_param(0))


def keep_to_own_cores(rank: int, threads: int) -> None:
    """Keep this thread, and those that it starts, to a share of the machine's cores that no other rank has.

    Ranks sleep until the others have come as far, and who is woken is often put on the core of who woke him, where the two take
    turns until the system sees it: a tenth of a small model's step (benchmarks/RESULTS.md, "Training").

    Args:
        rank: among the ranks of this machine, which has nothing else to do.
        threads: that each of them computes with. Where there are not so many cores left for this rank, it goes anywhere.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS
        return
    cores = sorted(os.sched_getaffinity(0))[rank * threads : (rank + 1) * threads]
    if len(cores) == threads:
        os.sched_setaffinity(0, cores)
