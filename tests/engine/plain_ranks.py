"""Ranks of a training in plain processes: what Ray gives a training loop, without Ray."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from pd.diffusion.data import TrainingData
from pd.engine.training.dataset_reference import hand_over
from pd.engine.training.definition import Job


def join(rank: int, world: int, store: Path) -> None:
    """Make this process, of one thread, a rank; `store` is a file that is not there yet, the same for all."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", store=distributed.FileStore(str(store), world), rank=rank, world_size=world)


def give_inputs(job: Job, images: TrainingData) -> None:
    """Hand a new training its images. All ranks call it."""
    if distributed.get_rank() == 0 and not job.folder.exists():
        job.folder.mkdir()
        hand_over(images, job.inputs)
    distributed.barrier()


class Plain:
    """This process as a worker of `pd.engine.training.loop`, after `join`.

    Args:
        folder: for checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.device, self._folder = torch.device("cpu"), folder

    def agree(self, value: Any) -> Any:
        held = [value]
        distributed.broadcast_object_list(held)
        return held[0]

    def checkpoint(self, step: int, save: Callable[[Path], None]) -> None:
        part = self._folder / f"checkpoint_{step:03d}"
        part.mkdir(exist_ok=True)
        save(part)
        distributed.barrier()

    def latest(self) -> Path | None:
        return max(self._folder.glob("checkpoint_*"), default=None)

    def told_to_leave(self) -> bool:
        return False
