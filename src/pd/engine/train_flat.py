"""All trained weights of a module in one buffer, and all their gradients in another.

A small model has hundreds of parameters. To sum the gradients of all ranks, to clip them, to step and to average the weights is
then one operation each on a buffer, where parameter by parameter it is hundreds.
"""

import torch
from torch import Tensor, distributed, nn


class FlatWeights:
    """Takes over a module's trained parameters: they become views of `master`, and their gradients views of its gradient.

    Args:
        module: on its device, its trained parameters float32; at least one.

    Attributes:
        master: (N,) float32, what the optimiser steps. Its gradient is always there.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        sizes = [parameter.numel() for parameter in self._parameters]
        self.master = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in self._parameters]))
        self._gradient = torch.zeros_like(self.master)
        self.master.grad = self._gradient
        parts = zip(self._parameters, self.master.detach().split(sizes), self._gradient.split(sizes), strict=True)
        for parameter, weights, gradient in parts:
            parameter.data = weights.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)

    def zero_grad(self) -> None:
        """Set all gradients to zero, where they are: backwards, autograd adds to what it finds."""
        self._gradient.zero_()

    def reduce(self) -> None:
        """Average the gradients over all ranks. All ranks call it."""
        if (world := distributed.get_world_size()) > 1:
            distributed.all_reduce(self._gradient)
            self._gradient.div_(world)

    def clip(self, limit: float) -> Tensor:
        """Scale the gradients so that their norm is at most `limit`; returns the norm before, a scalar."""
        return nn.utils.clip_grad_norm_([self.master], limit)
