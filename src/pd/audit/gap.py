"""How far a training has begun to remember: the gap between the losses of those it learns from and of other people.

A model that has learned what people look like, and nobody in particular, denoises both alike. Memorisation shows as a gap that
opens; the more people, the later (Bonnaire et al. 2025, arXiv 2505.17638: the time of memorisation grows with the data, that of
generalisation does not). Two questions at each checkpoint, each with an interval over people (Welch 1947):

- `gap`: is the members' loss lower than other people's?
- `widening`: has that difference grown since the first checkpoint? Each picture is compared with itself, so that which pictures
  are hard to denoise cancels; the first question alone is blunt where people are few.

Losses are taken as logarithms: a gap of 0.1 means that members' losses are a tenth lower.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import CONFIDENCE, Estimate, number

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """What one checkpoint shows.

    Attributes:
        step: of the training.
        gap: members' mean log loss below other people's.
        widening: how much more than at the first checkpoint; None: this is the first.
    """

    step: int
    gap: Estimate
    widening: Estimate | None

    @property
    def remembers(self) -> bool:
        """Whether either interval lies above 0."""
        return self.gap.low > 0 or (self.widening is not None and self.widening.low > 0)


def look(step: int, losses: Floats, first: Floats | None, people: Sequence[str], members: npt.NDArray[np.bool_]) -> Look:
    """Compare the losses at a checkpoint.

    Args:
        step: of the training.
        losses: (N,) of each picture, above 0.
        first: the same at the first checkpoint; None: this is the first.
        people: N names.
        members: (N,) whether the training learns from the picture; at least two people of either kind.
    """
    now = np.log(losses)
    widening = None if first is None else _difference(now - np.log(first), people, members)
    return Look(step, _difference(now, people, members), widening)


def choose(looks: Sequence[Look]) -> int:
    """Which of the checkpoints is taken: the last before the first that remembers; the first, where already that one does."""
    remembers = [one.remembers for one in looks]
    return max(remembers.index(True) - 1, 0) if any(remembers) else len(looks) - 1


def _difference(values: Floats, people: Sequence[str], members: npt.NDArray[np.bool_]) -> Estimate:
    """Other people's mean less the members', each person counting as one, with Welch's interval."""
    from scipy import stats

    means: list[Floats] = []
    for side in (~members, members):
        who = number([name for name, here in zip(people, side, strict=True) if here])
        means.append(np.bincount(who, weights=values[side]) / np.bincount(who))
    others, ours = means
    if min(len(others), len(ours)) < 2:
        raise ValueError("a gap needs two people on either side")
    parts = [float(side.var(ddof=1)) / len(side) for side in means]
    value, error = float(others.mean() - ours.mean()), float(np.sqrt(sum(parts)))
    if not error:
        return Estimate(value, value, value, len(values))
    freedom = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, means, strict=True))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Estimate(value, value - reach, value + reach, len(values))
