"""All trained weights of a module in one buffer, and all their gradients in another.

A small model has hundreds of parameters. To sum the gradients of all ranks, to clip them, to step and to average the weights is
then one operation each on a buffer, where parameter by parameter it is hundreds.
"""

from itertools import accumulate

import torch
from torch import Tensor, distributed, nn

from pd.engine.cpu.shared_memory import shared_between_ranks
from pd.engine.training.partition import Piece


class FlatWeights:
    """Takes over a module's trained parameters: they become views of one buffer, and their gradients of another.

    Every rank steps all weights, with the mean of all ranks' gradients.

    Args:
        module: on its device, its trained parameters float32, the same on all ranks; at least one.

    Attributes:
        mine: (n,) float32 parameter: the weights that this rank's optimiser steps, with a gradient that is always there.
        parted: whether other ranks step other weights.
    """

    parted = False

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._world, self._rank = distributed.get_world_size(), distributed.get_rank()
        size = sum(parameter.numel() for parameter in self._trained)
        weights, self._gradients = self._room(-(-size // self._world) * self._world)  # equal shares, the last one padded
        for parameter, start in zip(self._trained, self._offsets(), strict=True):
            whole, gradient = (b.narrow(0, start, parameter.numel()).view_as(parameter) for b in (weights, self._gradients))
            whole.copy_(parameter.detach())  # ranks that share the buffer all write the same
            parameter.data, parameter.grad = whole, gradient
        self.mine = self._own(weights)

    def zero_grad(self) -> None:
        """Set the gradients to zero, where they are: backwards, autograd adds to what it finds."""
        self._gradients.zero_()

    def reduce(self, limit: float) -> Tensor:
        """Take the mean of all ranks' gradients, and scale it so that its norm is at most `limit`. All ranks call it.

        Returns:
            The norm before, a scalar.
        """
        if self._world > 1:
            distributed.all_reduce(self._gradients)
            self._gradients.div_(self._world)
        return nn.utils.clip_grad_norm_([self.mine], limit)

    def settle(self) -> None:
        """Wait until all weights are stepped. All ranks call it after their step."""

    def pieces(self, rank: int) -> list[Piece]:
        """What a rank's optimiser steps of which parameter."""
        share = len(self.mine)
        begin = rank * share if self.parted else 0
        found = []
        named = [(name, parameter) for name, parameter in self._module.named_parameters() if parameter.requires_grad]
        for (name, parameter), start in zip(named, self._offsets(), strict=True):
            low, high = max(start, begin), min(start + parameter.numel(), begin + share)
            if low < high:
                found.append(Piece(name, low - start, high - low, 0, low - begin))
        return found

    def _offsets(self) -> list[int]:
        return [0, *accumulate(parameter.numel() for parameter in self._trained)][:-1]

    def _room(self, size: int) -> tuple[Tensor, Tensor]:
        """Buffers for the weights and for this rank's gradients, (size,) each, zero."""
        like = self._trained[0].detach()
        return like.new_zeros(size), like.new_zeros(size)

    def _own(self, weights: Tensor) -> nn.Parameter:
        own = nn.Parameter(weights)
        own.grad = self._gradients
        return own


class SharedWeights(FlatWeights):
    """The same for ranks on CPUs of one machine: they compute with the very same weights, and each steps a share of them.

    What would be sent is read where it lies.

    Args:
        module: as above.
        memory: (world + 1, size) float32, zero, that all ranks see: the weights, then each rank's gradients.
    """

    parted = True

    def __init__(self, module: nn.Module, memory: Tensor) -> None:
        self._memory = memory
        super().__init__(module)
        distributed.barrier()

    def reduce(self, limit: float) -> Tensor:
        """As above, of this rank's share alone; the norm is that of all."""
        distributed.barrier()  # all gradients are there
        share = slice(self._rank * len(self.mine), (self._rank + 1) * len(self.mine))
        mean = torch.sum(self._memory[1:, share], 0, out=self.mine.grad)
        square = torch.linalg.vector_norm(mean).square()
        distributed.all_reduce(square)  # and from here on all of them are read
        norm = square.sqrt() / self._world
        mean.mul_((limit / (norm + 1e-6)).clamp(max=1.0) / self._world)  # as clip_grad_norm_ does
        return norm  # type: ignore[no-any-return]

    def settle(self) -> None:
        """As above."""
        distributed.barrier()

    def _room(self, size: int) -> tuple[Tensor, Tensor]:
        return self._memory[0], self._memory[1 + self._rank]

    def _own(self, weights: Tensor) -> nn.Parameter:
        own = nn.Parameter(weights.chunk(self._world)[self._rank])
        own.grad = torch.zeros_like(own)
        return own


def flatten(module: nn.Module) -> FlatWeights:
    """Shared weights where all ranks are on CPUs of one machine that has room, else each rank's own. All ranks call it."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    world = distributed.get_world_size()
    if world > 1 and trained[0].device.type == "cpu":
        share = -(-sum(parameter.numel() for parameter in trained) // world)
        memory = shared_between_ranks((world + 1, share * world))
        if memory is not None:
            return SharedWeights(module, memory)
    return FlatWeights(module)
