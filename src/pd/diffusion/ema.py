"""The exponential moving average of a model's weights, which is what is sampled and released."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Ema:
    """A float32 average of parameters, in the order they are given.

    The decay of step s (from 0) is min(decay, (1 + s) / (10 + s)), so that the average forgets its random start. The
    step is an argument, not a counter kept here, so that a resumed run cannot be off by some.

    Args:
        parameters: the parameters as they are before the first step.
        decay: 0 keeps no memory: the average is the last weights.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay {decay} is not in [0, 1)")
        self.decay = decay
        self._average = [parameter.detach().float().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, parameters: Iterable[Tensor], step: int) -> None:
        """Take in the parameters after optimiser step `step`, counted from 0."""
        given = list(parameters)
        if [p.shape for p in given] != [a.shape for a in self._average]:
            raise ValueError("the parameters are not those that are averaged: their number or shapes differ")
        new = [parameter.detach().float() for parameter in given]
        kept = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, new, 1.0 - kept)

    @property
    def averages(self) -> list[Tensor]:
        """The averages themselves, float32, in the parameters' order and shapes; a checkpoint writes and fills them."""
        return self._average
