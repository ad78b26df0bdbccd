"""How far a training has begun to memorise, by the losses of those it learns from and of other people.

A model that learns what people look like denoises other people better, too; one that memorises gains on its members alone. The
more people, the later (Bonnaire et al. 2025, arXiv 2505.17638: the time of memorisation grows with the data, that of
generalisation does not). Two figures at each checkpoint, each with an interval over people (Welch 1947):

- `gap`: by how much the members' loss lies below other people's. It opens long before a sample shows anybody.
- `memorised`: by how much the members' loss has fallen since the last checkpoint at half as many steps or before (of the first
  one: since the untrained model), beyond twice what other people's has. Above 0, more than half of what was learned since is
  about the members alone. Each picture is compared with itself, so that which pictures are hard to denoise cancels.

Losses are taken as logarithms: a gap of 0.1 means that members' losses are a tenth lower.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import CONFIDENCE, Estimate, number

Floats = npt.NDArray[np.float64]

TIMES = 2.0  # ours: a checkpoint memorises where members have gained so many times what other people have


@dataclass(frozen=True)
class Look:
    """What one checkpoint shows.

    Attributes:
        step: of the training; 0: before it.
        gap: members' mean log loss below other people's.
        memorised: the members' gain since the checkpoint that `reference` names, less TIMES other people's (where they have
            gained); None: there was no such look.
    """

    step: int
    gap: Estimate
    memorised: Estimate | None

    @property
    def remembers(self) -> bool:
        """Whether more than half of what was learned is, with its whole interval, about the members alone."""
        return self.memorised is not None and self.memorised.low > 0


def look(step: int, losses: Floats, before: Floats | None, people: Sequence[str], members: npt.NDArray[np.bool_]) -> Look:
    """Compare the losses at a checkpoint.

    Args:
        step: of the training.
        losses: (N,) of each picture, above 0.
        before: the same at the checkpoint that `reference` names; None: there is none.
        people: N names.
        members: (N,) whether the training learns from the picture; at least two people of either kind.
    """
    now = np.log(losses)
    memorised = None
    if before is not None:
        change = now - np.log(before)
        others = _means(-change, people, ~members).mean()
        memorised = _difference(change, people, members, TIMES if others > 0 else 0.0)
    return Look(step, _difference(now, people, members), memorised)


def reference(step: int, looked_at: Sequence[int]) -> int | None:
    """The checkpoint that another one's losses are compared with: the last at half its steps or before; None: there is none."""
    return max((one for one in looked_at if one <= step // 2 and one < step), default=None)


def choose(looks: Sequence[Look]) -> int:
    """Which of the checkpoints is taken: the last before the first that remembers; the first, where already that one does.

    The untrained model (step 0) is no checkpoint: it is never taken where there is another.
    """
    remembers = [one.remembers for one in looks]
    first = int(len(looks) > 1 and looks[0].step == 0)
    return max(remembers.index(True) - 1, first) if any(remembers) else len(looks) - 1


def _means(values: Floats, people: Sequence[str], side: npt.NDArray[np.bool_]) -> Floats:
    """Each person's mean over the pictures of one side."""
    who = number([name for name, here in zip(people, side, strict=True) if here])
    means: Floats = np.bincount(who, weights=values[side]) / np.bincount(who)
    return means


def _difference(values: Floats, people: Sequence[str], members: npt.NDArray[np.bool_], times: float = 1.0) -> Estimate:
    """So many times other people's mean less the members', each person counting as one, with Welch's interval."""
    from scipy import stats

    sides = others, ours = times * _means(values, people, ~members), _means(values, people, members)
    if min(len(others), len(ours)) < 2:
        raise ValueError("a gap needs two people on either side")
    parts = [float(side.var(ddof=1)) / len(side) for side in sides]
    value, error = float(others.mean() - ours.mean()), float(np.sqrt(sum(parts)))
    if not error:
        return Estimate(value, value, value, len(values))
    freedom = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Estimate(value, value - reach, value + reach, len(values))
