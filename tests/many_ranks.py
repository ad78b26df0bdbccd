"""Ranks of a small training in plain processes, without Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from pd.training.task import Group


def on_ranks(world: int, work: Callable[..., Any], folder: Path, *given: Any) -> None:
    """Call `work(ranks, *given)`, a function of a module, in as many processes of one thread each; raises what one raised."""
    folder.mkdir(parents=True, exist_ok=True)
    multiprocessing.spawn(_rank, (world, work, str(folder / "store"), given), nprocs=world)


def _rank(rank: int, world: int, work: Callable[..., Any], store: str, given: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", store=distributed.FileStore(store, world), rank=rank, world_size=world)
    work(Group(torch.device("cpu")), *given)
    distributed.destroy_process_group()
