"""M3D: the whole distributions of random networks' features agree, not their means alone.

Zhang et al., "M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy" (arXiv 2312.15927): the biased MMD^2 =
mean K(R, R) - 2 mean K(R, S) + mean K(S, S), with K(a, b) = sum over m of exp(-|a - b|^2 / (m w)), m in 1/4, 1/2, 1, 2,
4, and w the mean squared distance of all pairs of the step, which is not learned from.
"""

import torch
from torch import Tensor

from pd.condense.task import CondenseTask

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def distance(real: Tensor, made: Tensor) -> Tensor:
    """MMD^2 of (N, d) and (M, d) features, a scalar, at least 0 but for rounding; differentiable in both."""
    n = len(real)
    both = torch.cat([real, made])
    squares = _squared_distances(both)
    total = len(both)
    width = squares.detach().sum() / (total * total - total)
    kernel = sum((torch.exp(-squares / (width.clamp(min=1e-12) * m)) for m in WIDTHS), start=squares.new_zeros(()))
    return kernel[:n, :n].mean() - 2 * kernel[:n, n:].mean() + kernel[n:, n:].mean()


def linear(real: Tensor, made: Tensor) -> Tensor:
    """MMD^2 with the kernel a . b: equal to DM's distance."""
    return (real @ real.T).mean() - 2 * (real @ made.T).mean() + (made @ made.T).mean()


def _squared_distances(rows: Tensor) -> Tensor:
    """(N, N); by inner products of centred rows, at least 0."""
    centred = rows - rows.detach().mean(0)
    norms = (centred * centred).sum(1)
    return (norms[:, None] + norms[None, :] - 2 * centred @ centred.T).clamp(min=0)


class M3dTask(CondenseTask):
    """Pictures of a class by M3D; a random network serves five steps."""

    name, fresh = "m3d", 5

    def distance(self, real: Tensor, made: Tensor) -> Tensor:
        return distance(real, made)
