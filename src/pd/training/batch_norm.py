"""Batch norm over the global batch of all ranks, on any device. (torch's SyncBatchNorm refuses tensors on the CPU.)"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from pd.errors import UserError
from pd.training.ranks import Ranks


class GlobalBatchNorm(_BatchNorm):
    """As `nn.BatchNorm1d`, `2d` and `3d`; in training mode mean and variance are those of all ranks' rows together.

    Each rank's mean and sum of squared deviations are gathered and put together as Chan, Golub and LeVeque do ("Algorithms for
    computing the sample variance", The American Statistician 37, 1983, eq. 2.1), which cancels no digits. The
    backward pass sums over ranks what flows through both, so gradients averaged over ranks are those of one process with the
    whole batch.

    Args:
        norm: whose settings, weights and statistics are taken over (shared, not copied).
        ranks: all of which call the module in the same order.
    """

    def __init__(self, norm: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training = norm.training
        self._ranks = ranks

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"(N, C, ...) is normed, not {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self._ranks.world == 1:
            return super().forward(input)
        self._check_input_dim(input)
        values = input if input.dtype == torch.float64 else input.float()
        weight, bias = (self.weight, self.bias) if self.affine else (values.new_ones(self.num_features), None)
        normed, mean, squares, total = _Normed.apply(values, weight, bias, self.eps, self._ranks)
        self._track(mean, squares, total)
        found: Tensor = normed.to(input.dtype)
        return found

    @torch.no_grad()
    def _track(self, mean: Tensor, squares: Tensor, total: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((squares / (total - 1)).to(self.running_var.dtype), share)


class _Normed(torch.autograd.Function):
    """Batch norm over all ranks' rows.

    The passes over the values are chosen by their cost on a CPU: where channels come last, torch's own kernel for the
    statistics; else a sum, a difference and a product (its kernel takes twice as long there); one for the result, and three in
    the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count = values.numel() // values.shape[1]
        if _format_of(values) is torch.channels_last:
            own, variance = torch.ops.aten.batch_norm_update_stats(values, None, None, 0.0)
            deviations, taken, kept = variance * count, torch.zeros_like(own), values
        else:
            own = values.sum([0, *range(2, values.ndim)]) / count
            kept = values - own.view(_along(values))
            flat = kept.flatten(2) if values.ndim > 2 else kept[..., None]
            deviations, taken = torch.linalg.vecdot(flat, flat).sum(0), own
        every = ranks.gather(torch.cat([own.new_full((1,), count), own, deviations])[None])
        counts, means, sums = every[:, :1], every[:, 1 : 1 + len(own)], every[:, 1 + len(own) :]
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        squares = sums.sum(0) + (counts * (means - mean).square()).sum(0)
        normed = F.batch_norm(kept, mean - taken, squares / total, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(kept, weight, mean - taken, squares / total, total)
        ctx.eps, ctx.ranks, ctx.biased = eps, ranks, bias is not None
        ctx.mark_non_differentiable(mean, squares, total)
        return normed, mean, squares, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *others: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        kept, weight, shift, variance, total = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=_format_of(kept))
        _, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, kept, weight, shift, variance, None, None, False, ctx.eps, [False, True, True]
        )
        sums = torch.stack([to_weight, to_bias])
        ctx.ranks.sum_([sums])
        # What flows through mean and variance, summed over ranks; then what flows as if both were constants.
        scale = weight * torch.rsqrt(variance + ctx.eps)
        by_weight, by_bias = sums * (-scale / total)
        to_values = F.batch_norm(kept, shift, variance, by_weight, by_bias, False, 0.0, ctx.eps)
        to_values.addcmul_(gradient, scale.view(_along(gradient)))
        return to_values, to_weight, to_bias if ctx.biased else None, None, None


def _format_of(values: Tensor) -> torch.memory_format:
    """channels_last where the channels come last in memory, as convolutions of `small` have them; else contiguous."""
    last = values.ndim == 4 and not values.is_contiguous() and values.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _along(values: Tensor) -> list[int]:
    """The shape in which (C,) stands along the channels of (N, C, ...)."""
    return [1, -1, *[1] * (values.ndim - 2)]


def over_ranks(module: nn.Module, ranks: Ranks) -> nn.Module:
    """The module with every batch norm in it taken over ranks; names of parameters and statistics stay.

    Raises:
        UserError: there is a batch norm that does more than torch's own.
    """
    if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
        return GlobalBatchNorm(module, ranks)  # type: ignore[arg-type]
    if isinstance(module, _BatchNorm) and not isinstance(module, GlobalBatchNorm):
        raise UserError(
            f"{type(module).__name__} cannot be taken over several workers",
            code="bad-model",
            fix="set workers: 1 for this network",
        )
    for name, child in module.named_children():
        module.add_module(name, over_ranks(child, ranks))
    return module
