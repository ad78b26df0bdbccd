"""What the distilling methods share: what a criterion is given, and the classes of the training's people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALE = 16.0  # of cosines that are class scores; ours
LAST = 0.05  # of the steps, in which the weights of distillation go to 0


@dataclass(frozen=True, eq=False)
class Seen:
    """A global batch, as teacher and student see it.

    Attributes:
        teacher: (B, e) unit rows of the clear pictures.
        student: (B, d) unit rows of the pictures in their views.
        who: (B,) int64, 0..K-1.
        distilling: 1, and in the last steps down to 0: times what is learned from the teacher.
        chance: all that a criterion draws; the same on every rank.
    """

    teacher: Tensor
    student: Tensor
    who: Tensor
    distilling: float
    chance: torch.Generator


class Criterion(Protocol):
    """A method's losses, with what they learn beside the student."""

    def __call__(self, seen: Seen) -> Mapping[str, Tensor]:
        """Scalars by name; `loss` is minimised."""


class Classes(nn.Module):
    """Class scores: scaled cosines to a learned direction for each person; the teacher's to each person's mean embedding.

    Args:
        dim: d of the student.
        centres: (K, e) the teacher's mean embedding of each person.
    """

    centres: Tensor

    def __init__(self, dim: int, centres: Tensor) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(len(centres), dim) / dim**0.5)
        self.register_buffer("centres", F.normalize(centres, dim=1), persistent=False)

    def student(self, rows: Tensor) -> Tensor:
        """(B, K)."""
        return SCALE * rows @ F.normalize(self.directions, dim=1).T

    def teacher(self, rows: Tensor) -> Tensor:
        """(B, K)."""
        return SCALE * rows @ self.centres.T


def remaining(step: int, steps: int) -> float:
    """Weight of distillation at a step: 1, then down to 0 over the last twentieth."""
    return min(1.0, (steps - step) / max(LAST * steps, 1.0))
