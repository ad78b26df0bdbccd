"""Which cores a training worker computes on."""

import os


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
