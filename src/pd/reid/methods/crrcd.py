"""CRRCD: cross-resolution relational contrastive knowledge distillation (arXiv 2409.02555).

A teacher that learned clear pictures teaches a student that sees them at low resolution: how two of its embeddings differ,
v_ij = F(e_i - e_j), F = Linear-ReLU-Linear to 256. The relation of the teacher's pair, F_t(t_i - t_j), must be told from others
by the *mixed* pair of a teacher's and a student's embedding: F_m(t_i - s_j) is its positive, F_m(t_i - s_k) are negatives. The
critic is h = sigmoid(cos / 0.1); with N negatives

    L = -log h(v_ij, m_ij) - mean over N of log(1 - h(v_ij, m_ik)),
    total = cross-entropy + 0.9 KD (T = 4) + 2 L,

distillation weights going to 0 over the last twentieth of the steps. `contrast: instances` is CRD (arXiv 1910.10699) with the
same critic: t_i against s_i and s_k. Re-implemented. Ours: the mean over negatives in place of a sum, negatives are of other
people than j, one j for each i, class scores by scaled cosines, the teacher's from its mean embeddings.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pd.config.recognisers import CrrcdSettings
from pd.reid.methods.base import Classes, Seen

WIDTH = 256
CRITIC = 0.1


class Crrcd(nn.Module):
    """The losses.

    Args:
        settings: weights, and what is contrasted.
        dim: d of the student.
        centres: (K, e) the teacher's mean embedding of each person.
    """

    def __init__(self, settings: CrrcdSettings, dim: int, centres: Tensor) -> None:
        super().__init__()
        self.settings, self.classes = settings, Classes(dim, centres)
        wide = centres.shape[1]
        # A mixed pair needs both of one width.
        self.widen = nn.Identity() if dim == wide else nn.Linear(dim, wide, bias=False)
        self.of_teacher, self.of_mixed = _head(wide), _head(wide)

    def forward(self, seen: Seen) -> Mapping[str, Tensor]:
        """`loss`, and its parts."""
        scores = self.classes.student(seen.student)
        found = {"classes": F.cross_entropy(scores, seen.who)}
        loss = found["classes"]
        if self.settings.knowledge:
            found["knowledge"] = knowledge(scores, self.classes.teacher(seen.teacher), self.settings.temperature)
            loss = loss + seen.distilling * self.settings.knowledge * found["knowledge"]
        if self.settings.weight:
            found["contrast"] = self._contrast(seen)
            loss = loss + seen.distilling * self.settings.weight * found["contrast"]
        return {"loss": loss, **{name: value.detach() for name, value in found.items()}}

    def _contrast(self, seen: Seen) -> Tensor:
        teacher, student = seen.teacher, self.widen(seen.student)
        n = len(teacher)
        j = torch.randint(1, n, (n,), generator=seen.chance).to(teacher.device)
        j = (torch.arange(n, device=teacher.device) + j) % n  # of each i another one
        if self.settings.contrast == "instances":
            j = torch.arange(n, device=teacher.device)
            anchor, mixed = self.of_teacher(teacher), self.of_mixed(student)
            k = others(seen.who, j, self.settings.negatives, seen.chance)
            positive, negative = mixed, mixed[k]
        else:
            anchor = self.of_teacher(teacher - teacher[j])
            k = others(seen.who, j, self.settings.negatives, seen.chance)
            positive = self.of_mixed(teacher - student[j])
            negative = self.of_mixed(teacher[:, None] - student[k])
        return contrast(anchor, positive, negative)


def contrast(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """-log h(anchor, positive) - mean log(1 - h(anchor, negative)), h = sigmoid(cos / 0.1); the mean over anchors.

    Args:
        anchor: (B, w).
        positive: (B, w).
        negative: (B, N, w).
    """
    near = F.cosine_similarity(anchor, positive, dim=1) / CRITIC
    far = F.cosine_similarity(anchor[:, None], negative, dim=2) / CRITIC
    return (F.softplus(-near) + F.softplus(far).mean(1)).mean()


def knowledge(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of softened class scores, (B, K) each (Hinton et al., arXiv 1503.02531)."""
    soft = F.log_softmax(student / temperature, dim=1), F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(*soft, reduction="batchmean", log_target=True)


def others(who: Tensor, of: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """(B, count) rows of other people than those of rows `of`; any rows where the batch has nobody else."""
    allowed = (who[of][:, None] != who[None]).float().cpu()
    allowed[allowed.sum(1) == 0] = 1.0
    return torch.multinomial(allowed, count, replacement=True, generator=chance).to(who.device)


def _head(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
