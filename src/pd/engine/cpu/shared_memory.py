"""Memory that the ranks of a training share, where all of them are on one machine."""

import math
import os
import uuid
from pathlib import Path

import torch
from torch import Tensor, distributed

_MEMORY = Path("/dev/shm")  # a file system that is memory; in containers it may be small, or not shared with the neighbours


def shared_between_ranks(shape: tuple[int, ...]) -> Tensor | None:
    """A float32 tensor of zeros that is the same memory on every rank. All ranks call it.

    It has no name left when this returns, so it goes with the last process, however that ends.

    Returns:
        None, on every rank, where not all of them can have it: on several machines, or without room.
    """
    size = math.prod(shape)
    name: list[str | None] = [_create(4 * size) if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(name)
    path = _MEMORY / name[0] if name[0] else None
    try:
        seen = torch.tensor(float(path is not None and path.exists()))
        distributed.all_reduce(seen, distributed.ReduceOp.MIN)
        if path is None or not seen.item():
            return None
        memory = torch.from_file(str(path), shared=True, size=size, dtype=torch.float32)
        distributed.barrier()  # all have it
        return memory.view(shape)
    finally:
        if path is not None and distributed.get_rank() == 0:
            path.unlink()


def _create(size: int) -> str | None:
    """The name of a new file of zeros whose room is kept for it, or None."""
    path = _MEMORY / f"pd-{uuid.uuid4().hex}"
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError:
        return None
    try:
        os.posix_fallocate(file, 0, size)  # to write beyond what there is would kill the process
    except OSError:
        path.unlink()
        return None
    finally:
        os.close(file)
    return path.name
