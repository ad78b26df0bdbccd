"""The memory allocator of training workers on CPUs.

glibc's gives large blocks back to the system after every use, and the page faults of fresh ones take a seventh of a small
model's step (benchmarks/RESULTS.md, "Training"). jemalloc, which ray brings, keeps them for a while.
"""

import os
from pathlib import Path

# Given back after twice ten seconds, not never: a worker of 1.6 GB grew to 11. In large pages, whose faults are few: as this
# jemalloc counts, a block that every step takes and frees is given back and fetched again in between. And blocks of 8 MiB
# and more, which it gives back at once if not told otherwise: two workers of a ResNet-18 spent a sixth of their time on faults.
_KEEP = "dirty_decay_ms:10000,muzzy_decay_ms:10000,thp:always,oversize_threshold:0"


def keeping_memory() -> dict[str, str]:
    """Environment variables for a worker to be started with; none where ray brings no jemalloc, or another is chosen."""
    import ray

    library = Path(ray.__file__).parent / "core" / "libjemalloc.so"
    if not library.exists() or "LD_PRELOAD" in os.environ:
        return {}
    return {"LD_PRELOAD": str(library), "MALLOC_CONF": _KEEP}
