"""Excess re-identification of any subset of samples, from what attackers said of all of them once.

An audit (`pd.audit.reidentification`) compares samples with people. A sweep asks for the same figure of two hundred subsets,
so here each sample is reduced to two small numbers: which people it is nearest to, and how many of the thresholds it is
above. What a subset gives away is then a matter of counting.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, Floats
from pd.audit.impostor_sets import Met
from pd.audit.reidentification import excess_interval, first_held_back

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Bars:
    """Thresholds against one gallery: the data's own first, then those of R resamples.

    Attributes:
        values: (L,) float32, the distinct ones, rising.
        which: (1 + R,) int64, index into `values`.
    """

    values: Rows
    which: Ints

    @classmethod
    def of(cls, strangers: Rows, weight: Floats, alpha: float) -> "Bars":
        """The largest stranger's score that is not let through, as in `pd.audit.reidentification`.

        Args:
            strangers: (H,) the largest likeness of each stranger's image.
            weight: (1 + R, H) how often each image is drawn.
            alpha: share of strangers that may pass.
        """
        order = np.argsort(-strangers, kind="stable")
        held_back = first_held_back(weight[:, order], alpha)
        values, which = np.unique(strangers[order][held_back], return_inverse=True)
        return cls(values.astype(np.float32), which.reshape(-1).astype(np.int64))

    def level(self, scores: Rows) -> Ints:
        """(N,) how many of `values` each score is above."""
        return np.searchsorted(self.values, scores, side="left").astype(np.int64)


@dataclass(frozen=True, eq=False)
class View:
    """What an attacker says of N samples.

    People stand in groups, (member, stranger) pairs of those whom a sample is nearest to; a cell is a group and a level.

    Attributes:
        main: (N,) int32, the cell against the member gallery: group * (bars + 1) + level.
        control: (N,) int32, the same against the hold-out people whom it meets, by the bars of the circle in which these stand
            (`pd.audit.impostor_sets`): (circle * groups + group) * (bars + 1) + level.
        main_bars: (1, 1 + R) int64, the threshold of each resample as a level: a sample passes where its level is larger.
        control_bars: (C, 1 + R), the same of each circle.
        members: (1 + R, A) float32, how often each of A members is drawn; ones first.
        strangers: (1 + R, B) float32.
    """

    main: npt.NDArray[np.int32]
    control: npt.NDArray[np.int32]
    main_bars: Ints
    control_bars: Ints
    members: Rows
    strangers: Rows

    @classmethod
    def of(
        cls, group: Ints, to_member: Rows, met: Met, main: Bars, control: Sequence[Bars], drawn: tuple[Rows, Rows]
    ) -> "View":
        """From likenesses.

        Args:
            group: (N,) of each sample.
            to_member: (N,) float32, similarity to its nearest member image.
            met: the same of the hold-out people whom it meets.
            main: thresholds against the members.
            control: thresholds of each circle.
            drawn: how often members, and strangers, are drawn.
        """
        level = np.zeros(len(group), np.int64)
        for circle, bars in enumerate(control):
            here = met.circle == circle
            level[here] = bars.level(met.score[here])
        levels = [1 + max(len(bars.values) for bars in side) for side in ([main], control)]
        groups = drawn[0].shape[1] * drawn[1].shape[1]
        return cls(
            (group * levels[0] + main.level(to_member)).astype(np.int32),
            ((met.circle * groups + group) * levels[1] + level).astype(np.int32),
            main.which[None],
            np.stack([bars.which for bars in control]),
            *drawn,
        )

    def rates(self, chosen: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Main and control rate of the chosen samples, (N,) bool of which some are true: (1 + R,) each, the data's own first.

        A sample counts as often as the two people were drawn whom it is nearest to.
        """
        main, control = self._counts(self.main[chosen], self.main_bars), self._counts(self.control[chosen], self.control_bars)
        seen = np.flatnonzero(main[0].sum(axis=1))
        people = np.divmod(seen, self.strangers.shape[1])
        weight = self.members[:, people[0]].astype(np.float64) * self.strangers[:, people[1]]
        # A resample that drew none of the people whom samples resemble says nothing of people: it weighs samples alike.
        weight[weight @ main[0][seen].sum(axis=1) == 0] = 1
        total = weight @ main[0][seen].sum(axis=1)
        passing = [
            np.sum([_passing(weight, _above(count[seen]), bar) for count, bar in zip(counts, bars, strict=True)], axis=0)
            for counts, bars in ((main, self.main_bars), (control, self.control_bars))
        ]
        return passing[0] / total, passing[1] / total

    def _counts(self, cells: npt.NDArray[np.int32], bars: Ints) -> Ints:
        """(circles, groups, levels): how many samples."""
        shape = (len(bars), self.members.shape[1] * self.strangers.shape[1], int(bars.max()) + 2)
        return np.bincount(cells, minlength=math.prod(shape)).reshape(shape)


def _passing(weight: Floats, above: Ints, bars: Ints) -> Floats:
    """(R,) how much weight, (R, G), lies above each resample's bar; few bars differ, so they are taken one by one."""
    passing = np.empty(len(bars))
    for bar in np.unique(bars):
        rows = bars == bar
        passing[rows] = weight[rows] @ above[:, bar]
    return passing


def _above(count: Ints) -> Ints:
    """(G, L) samples by level -> (G, L - 1) samples of a level above 0, above 1, ..."""
    return np.cumsum(count[:, ::-1], axis=1)[:, ::-1][:, 1:]


@dataclass(frozen=True)
class Leak:
    """What a set of samples gives away.

    Attributes:
        attacker: the worst.
        excess: its excess re-identification.
        by_attacker: of each.
    """

    attacker: str
    excess: Estimate
    by_attacker: Mapping[str, float]


def leak(views: Mapping[str, Sequence[View]], chosen: npt.NDArray[np.bool_], seed: int) -> Leak | None:
    """Excess re-identification of a subset by the worst attacker, the mean of the folds that people were crossed in.

    The interval is the audit's, of the people's chance, by resampling them in every fold, and the samples'. The latter is drawn
    from Beta(hits + 1/2, misses + 1/2), Jeffreys' (Brown, Cai & DasGupta 2001, "Interval estimation for a binomial
    proportion"): no hit among three samples is no proof, and a search would seek such sets out. One draw serves all folds, for
    they look at the same samples.

    Args:
        views: attacker -> a view of the same N samples for each fold.
        chosen: (N,) bool, the subset.
        seed: of the draws.

    Returns:
        None where the subset is empty.
    """
    n = int(chosen.sum())
    if not n:
        return None
    excess: dict[str, Estimate] = {}
    for name, folds in views.items():
        main, control = (np.mean(side, axis=0) for side in zip(*(view.rates(chosen) for view in folds), strict=True))
        rng = np.random.default_rng(seed)
        drawn = [rng.beta(n * rate[1:] + 0.5, n * (1 - rate[1:]) + 0.5) for rate in (main, control)]
        people = min(folds[0].members.shape[1], sum(view.strangers.shape[1] for view in folds))
        excess[name] = excess_interval(float(main[0] - control[0]), drawn[0] - drawn[1], people, n)
    worst = max(excess, key=lambda name: excess[name].value)
    return Leak(worst, excess[worst], {name: one.value for name, one in excess.items()})
