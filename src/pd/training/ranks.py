"""The processes that train one network together."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn


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

    def gather(self, rows: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
        """The rows of all ranks, in rank order; differentiable.

        The backward pass sums the gradients of all ranks. With gradients of weights averaged over ranks (`mean_`), a loss
        of gathered rows that every rank computes alike has the gradient of the global batch.

        Args:
            rows: (n, ...) of this rank.
            sizes: n of each rank; None: all are as many.
        """

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Average tensors over ranks, in place."""

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Sum tensors over ranks, in place."""

    def barrier_agree(self, value: Any) -> Any:
        """Rank 0's value (small and picklable), on every rank."""


class Alone:
    """The only rank, in this process; it needs no process group."""

    rank, world = 0, 1

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def gather(self, rows: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
        return rows

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Nothing to average."""

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Nothing to add."""

    def barrier_agree(self, value: Any) -> Any:
        return value


class Group:
    """The ranks of torch's default process group."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.world, self.device = distributed.get_rank(), distributed.get_world_size(), device

    def gather(self, rows: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
        if self.world == 1:
            return rows
        sizes = sizes or [len(rows)] * self.world
        most = max(sizes)
        padded = F.pad(rows, [0, 0] * (rows.ndim - 1) + [0, most - len(rows)]) if len(rows) < most else rows
        every: Tensor = _Gather.apply(padded.contiguous(), self.rank, self.world)
        if min(sizes) == most:
            return every
        return torch.cat([every[rank * most : rank * most + size] for rank, size in enumerate(sizes)])

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        self._reduce(tensors, self.world)

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        self._reduce(tensors, 1)

    def barrier_agree(self, value: Any) -> Any:
        if self.world == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def _reduce(self, tensors: Iterable[Tensor], divisor: int) -> None:
        given = list(tensors)
        if self.world == 1 or not given:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in given])
        distributed.all_reduce(flat)
        flat /= divisor
        parts = torch.split(flat, [tensor.numel() for tensor in given])
        for tensor, part in zip(given, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


class _Gather(torch.autograd.Function):
    """All ranks' rows; the gradients of all ranks for this one's are summed. (torch's own sends them one by one on gloo.)"""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int, world: int) -> Tensor:
        ctx.mine = slice(rank * len(rows), (rank + 1) * len(rows))
        parts = [torch.empty_like(rows) for _ in range(world)]
        distributed.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        whole = gradients[0].contiguous().clone()
        distributed.all_reduce(whole)
        return whole[ctx.mine], None, None


def share_of(rows: int, rank: int, world: int) -> slice:
    """A rank's part of so many rows of a global batch; parts differ by at most one row."""
    return slice(rank * rows // world, (rank + 1) * rows // world)


def shares(rows: int, world: int) -> list[int]:
    """Sizes of all ranks' parts."""
    return [(rank + 1) * rows // world - rank * rows // world for rank in range(world)]


def mean_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
    """Average the gradients of parameters over ranks; those without one have none on any rank."""
    ranks.mean_([parameter.grad for parameter in parameters if parameter.grad is not None])
