"""The protocol of everything that is trained by gradient, and of the ranks that train it together."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, distributed, nn

Batch = Mapping[str, Tensor]
"""Named tensors of one step on one rank, on the CPU; the loop moves them to the rank's device."""

Facts = dict[str, Any]
"""JSON values that a finished training reports."""


class Ranks(Protocol):
    """The processes that train one network together.

    Attributes:
        rank: of this process, from 0.
        world: how many there are.
        device: where this rank computes.
    """

    rank: int
    world: int
    device: torch.device

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in rank order; differentiable. Every rank gives as many.

        The backward pass sums the gradients of all ranks. With gradients of weights averaged over ranks (`mean_`), a loss
        of gathered rows that every rank computes alike has the gradient of the global batch.
        """

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Average tensors over ranks, in place."""

    def barrier_agree(self, value: Any) -> Any:
        """Rank 0's value (small and picklable), on every rank."""


class Alone:
    """The only rank, in this process; it needs no process group."""

    rank, world = 0, 1

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def gather(self, rows: Tensor) -> Tensor:
        return rows

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Nothing to average."""

    def barrier_agree(self, value: Any) -> Any:
        return value


class Group:
    """The ranks of torch's default process group."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.world, self.device = distributed.get_rank(), distributed.get_world_size(), device

    def gather(self, rows: Tensor) -> Tensor:
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(rows.contiguous())) if self.world > 1 else rows  # type: ignore[no-untyped-call]

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        given = list(tensors)
        if self.world == 1 or not given:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in given])
        distributed.all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [tensor.numel() for tensor in given])
        for tensor, part in zip(given, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def barrier_agree(self, value: Any) -> Any:
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]


class Task(Protocol):
    """What is trained. Inherit from it: all but `key`, `build`, `batch`, `loss` and `export` has a default.

    A task is pickled to the ranks, so it holds words, numbers and paths, and opens pixels where it runs (`prepare`, `batch`).

    Attributes:
        key: hexadecimal digest of everything that makes another network (settings, data, seed); names the training's folder,
            so that the same task resumes and another one does not.
    """

    key: str

    def prepare(self, work: Path) -> None:
        """Make caches under `work`. Idempotent; rank 0 calls it before the others build."""
        return

    def build(self) -> nn.Module:
        """The module before its training, a function of the task alone. What is trained has `requires_grad`."""

    def batch(self, step: int, rank: int, world: int) -> Batch:
        """A rank's part of the global batch of a step: a function of (task, step), the same global batch for any `world`."""

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        """Scalars by name; `loss` is minimised, the others are shown.

        The mean over ranks of `loss` is that of the global batch. Whatever is random is drawn from a generator seeded by
        (task, step), never from torch's global one.
        """

    def after_step(self, module: nn.Module, step: int) -> None:
        """After the optimiser's step: average teachers, queues, centres. The same on every rank."""
        return

    def extra_state(self) -> Mapping[str, Tensor]:
        """Tensors besides the module's and the optimiser's that a resumed training needs."""
        return {}

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `extra_state` gave."""
        return

    def export(self, module: nn.Module, folder: Path) -> Facts:
        """Write the finished module (averaged weights, evaluation mode) into `folder`, safetensors and JSON only."""
