"""Noisy votes of teachers on disjoint people: GNMax and confident GNMax (Papernot et al., arXiv 1802.08908).

Accounted for without looking at the votes: what a person can change is one teacher's vote, that is two counts by one each,
an L2 distance of sqrt(2); and the largest count by at most 1.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.dp.events import Event, gaussian, times
from pd.dp.noise import NoiseSource
from pd.errors import UserError

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GNMax:
    """The class with the most votes after normal noise (their section 4.1).

    Attributes:
        sigma: deviation of the noise on each count, in votes.
    """

    sigma: float

    def answer(self, counts: Counts, source: NoiseSource, *names: str | int) -> npt.NDArray[np.int64]:
        """(Q,) classes for (Q, classes) counts of votes."""
        noisy = counts + self.sigma * source.normal(counts.shape, "gnmax", *names)
        return np.asarray(noisy.argmax(axis=1), np.int64)

    def event(self, queries: int) -> Event:
        """What answering so many queries costs."""
        return times(queries, gaussian(self.sigma / math.sqrt(2.0)))


@dataclass(frozen=True)
class ConfidentGNMax:
    """GNMax on the queries where most teachers agree (their algorithm 1).

    Attributes:
        threshold: votes that the noisy largest count must reach.
        check_sigma: deviation of the noise on the largest count.
        sigma: deviation of the noise on each count of an answer.
        most: answers after which it stops. It is fixed beforehand and paid for whole: how many queries pass depends on
            private data, and a cost that depends on it would be no bound.
    """

    threshold: float
    check_sigma: float
    sigma: float
    most: int

    def answer(self, counts: Counts, source: NoiseSource, *names: str | int) -> npt.NDArray[np.int64]:
        """(Q,) classes for (Q, classes) counts of votes; -1: not answered."""
        if self.most < 1:
            raise UserError(f"at most {self.most} answers", code="over-budget", where="votes", fix="allow at least one")
        checked = counts.max(axis=1) + self.check_sigma * source.normal((len(counts),), "confident check", *names)
        passed = np.flatnonzero(checked >= self.threshold)[: self.most]
        found = np.full(len(counts), -1, np.int64)
        found[passed] = GNMax(self.sigma).answer(counts[passed], source, "confident", *names)
        return found

    def events(self, queries: int) -> tuple[Event, Event]:
        """What the checks of so many queries cost, and the answers."""
        return times(queries, gaussian(self.check_sigma)), times(self.most, gaussian(self.sigma / math.sqrt(2.0)))
