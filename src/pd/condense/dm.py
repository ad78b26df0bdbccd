"""DM: the means of random networks' features agree.

Zhao and Bilen, "Dataset Condensation with Distribution Matching" (arXiv 2110.04181): |mean phi(real) - mean
phi(condensed)|^2, with phi a network of random weights, a new one each iteration.
"""

from torch import Tensor

from pd.condense.task import CondenseTask


def distance(real: Tensor, made: Tensor) -> Tensor:
    """Squared distance of the means of (N, d) and (M, d) features, a scalar."""
    gap = real.mean(0) - made.mean(0)
    return (gap * gap).sum()


class DmTask(CondenseTask):
    """Pictures of a class by DM."""

    name = "dm"

    def distance(self, real: Tensor, made: Tensor) -> Tensor:
        return distance(real, made)
