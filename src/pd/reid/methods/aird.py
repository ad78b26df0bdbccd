"""AIRD: adaptable instance-relation distillation (arXiv 2409.02049).

A teacher t that learned clear pictures teaches a student s that sees them small, blurred, noisy or pale:

    L = cross-entropy + instance mean_i (1 - cos(t_i, s_i)) + relation mean_ij (cos(t_i, t_j) - cos(s_i, s_j))^2.

Then, when a *set* of pictures of another domain is looked at, the statistics of batch norm move towards the set's,

    mu = (1 - a) mu_train + a mu_set, and the same of the variance,

weights untouched. Re-implemented. Ours: cross-entropy beside, means in place of sums, weights scaled to its size, and that the
set's statistics are measured layer by layer, each behind the adapted ones before it, over the whole set, in double precision.
So the order of a set's pictures, and how it is cut into batches, moves its embeddings by rounding alone (below 1e-5); a = 0
is the identity to the bit; and a set may be of one picture.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pd.config.recognisers import AirdSettings
from pd.dataset.images import to_tensor
from pd.dataset.parquet_images import Images
from pd.reid.methods.base import Classes, Seen

INSTANCE = 8.0  # a distance of cosines weighs so much beside cross-entropy of 16 times cosines; ours
RELATION = 16.0  # ours
_BATCH = 256


class Aird(nn.Module):
    """The losses.

    Args:
        settings: their weights.
        dim: d of the student.
        centres: (K, e) the teacher's mean embedding of each person.
    """

    def __init__(self, settings: AirdSettings, dim: int, centres: Tensor) -> None:
        super().__init__()
        self.settings, self.classes = settings, Classes(dim, centres)
        self.widen = nn.Identity() if dim == centres.shape[1] else nn.Linear(dim, centres.shape[1], bias=False)

    def forward(self, seen: Seen) -> Mapping[str, Tensor]:
        """`loss`, and its parts."""
        found = {
            "classes": F.cross_entropy(self.classes.student(seen.student), seen.who),
            "instance": instance(seen.teacher, self.widen(seen.student)),
            "relation": relation(seen.teacher, seen.student),
        }
        weights = {
            "classes": self.settings.cross_entropy,
            "instance": INSTANCE * self.settings.instance,
            "relation": RELATION * self.settings.relation,
        }
        loss = torch.stack([weights[name] * value for name, value in found.items()]).sum()
        return {"loss": loss, **{name: value.detach() for name, value in found.items()}}


def instance(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean of 1 - cos over rows, (B, e) each."""
    return (1 - F.cosine_similarity(teacher, student, dim=1)).mean()


def relation(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean squared difference of the cosines of all pairs of rows; (B, e) and (B, d)."""
    t, s = F.normalize(teacher, dim=1), F.normalize(student, dim=1)
    return (t @ t.T - s @ s.T).square().mean()


@torch.no_grad()
def adapted(network: nn.Module, images: Images, share: float) -> nn.Module:
    """A copy of a network whose batch norms are moved towards a set's statistics; in evaluation mode.

    Args:
        network: (N, 3, H, W) in [-1, 1] -> (N, d).
        images: (N, H, W, C) uint8, the whole set, of one source; none: nothing is moved.
        share: a, from 0 to 1.
    """
    found = copy.deepcopy(network).eval()
    if not len(images):
        return found
    for norm in _in_order(found, images):
        mean, variance = _statistics(found, norm, images)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        for held, measured in ((norm.running_mean, mean), (norm.running_var, variance)):
            held.copy_((1 - share) * held.double() + share * measured)
    return found


class _Reached(Exception):
    """What is to be seen of a network was seen."""


def _in_order(network: nn.Module, images: Images) -> list[_BatchNorm]:
    """Its batch norms with statistics, in the order in which a picture meets them."""
    order: list[_BatchNorm] = []
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]

    def note(module: nn.Module, _: Any) -> None:
        if module not in order:
            order.append(module)  # type: ignore[arg-type]

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    network(_tensor(network, images[:1]))
    for hook in hooks:
        hook.remove()
    return order


def _statistics(network: nn.Module, norm: _BatchNorm, images: Images) -> tuple[Tensor, Tensor]:
    """Mean and variance of what a norm is given over the set, (C,) float64 each."""
    sums: list[Tensor] = []

    def measure(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        values = given[0].double()
        axes = [0, *range(2, values.ndim)]
        count = torch.full_like(values.sum(axes), values.numel() / values.shape[1])
        sums.append(torch.stack([count, values.sum(axes), values.square().sum(axes)]))
        raise _Reached

    hook = norm.register_forward_pre_hook(measure)
    for at in range(0, len(images), _BATCH):
        try:
            network(_tensor(network, images[at : at + _BATCH]))
        except _Reached:
            continue
    hook.remove()
    count, total, squares = torch.stack(sums).sum(0)
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_min(0)


def _tensor(network: nn.Module, images: Images) -> Tensor:
    return to_tensor(images[:]).to(next(network.parameters()).device)
