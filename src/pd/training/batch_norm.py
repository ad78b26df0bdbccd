"""Batch norm over the global batch of all ranks, on any device. (torch's SyncBatchNorm refuses tensors on the CPU.)"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pd.errors import UserError
from pd.training.ranks import Ranks


class GlobalBatchNorm(_BatchNorm):
    """As `nn.BatchNorm1d`, `2d` and `3d`; in training mode mean and variance are those of all ranks' rows together.

    Each rank's mean and sum of squared deviations are gathered and put together as Chan, Golub and LeVeque do ("Algorithms for
    computing the sample variance", The American Statistician 37, 1983, eq. 2.1), which cancels no digits. The gathering is
    differentiable, so gradients averaged over ranks are those of one process with the whole batch.

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
        axes = [0, *range(2, input.ndim)]
        shape = [1, -1] + [1] * (input.ndim - 2)
        count = values.numel() // values.shape[1]
        own = values.mean(axes)
        deviations = (values - own.view(shape)).square().sum(axes)
        counted = torch.full((1,), float(count), device=values.device, dtype=values.dtype)
        every = self._ranks.gather(torch.cat([counted, own, deviations])[None])
        counts, means, sums = every[:, :1], every[:, 1 : 1 + self.num_features], every[:, 1 + self.num_features :]
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        squares = sums.sum(0) + (counts * (means - mean).square()).sum(0)
        self._track(mean.detach(), squares.detach(), total)
        scale = torch.rsqrt(squares / total + self.eps)
        if self.affine:
            scale = scale * self.weight
        normed = (values - mean.view(shape)) * scale.view(shape)
        if self.affine:
            normed = normed + self.bias.view(shape)
        return normed.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, squares: Tensor, total: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((squares / (total - 1)).to(self.running_var.dtype), share)


def over_ranks(module: nn.Module, ranks: Ranks) -> nn.Module:
    """The module with every batch norm in it taken over ranks; names of parameters and statistics stay.

    Raises:
        UserError: there is a batch norm that does more than torch's own.
    """
    if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
        return GlobalBatchNorm(module, ranks)  # type: ignore[arg-type]
    if isinstance(module, _BatchNorm) and not isinstance(module, GlobalBatchNorm):
        raise UserError(f"{type(module).__name__} cannot be taken over several workers", fix="set workers: 1 for this network")
    for name, child in module.named_children():
        module.add_module(name, over_ranks(child, ranks))
    return module
