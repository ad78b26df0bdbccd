"""Whom of the hold-out people a picture is compared with, so that samples find a likeness as easily as strangers do.

Two strangers who are alike see it from both sides: compared with all others both score high, and samples never do in pairs. For
few people that makes the control rate too high: of K people whose own pictures are all alike, 2 / (K + 1) of unrelated samples
would lie above the largest score, not 1 / (K + 1) as among the members. So people stand in a circle, and each is compared with
those who follow, less than half of the others: no pair counts twice. A sample is compared with as many who stand side by side.
Several circles, each in another order and with a threshold of its own, even out who follows whom.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.audit.nearest import Nearest, Similarity, in_blocks

Ints = npt.NDArray[np.int64]

CIRCLES = 4  # more hardly steady the control rate


@dataclass(frozen=True, eq=False)
class Met:
    """What N samples are like the hold-out people whom they meet.

    Attributes:
        score: (N,) float32, similarity to the nearest image of these.
        circle: (N,) int64, in which circle they stand.
    """

    score: npt.NDArray[np.float32]
    circle: Ints


@dataclass(frozen=True, eq=False)
class Circles:
    """Hold-out people in several orders.

    Attributes:
        who: (H,) int64, who is in each hold-out image, 0..K-1; at least two people.
        orders: (CIRCLES, K) int64, each a permutation of the people.
        seed: of the orders, and of whom samples meet.
    """

    who: Ints
    orders: Ints
    seed: int

    @classmethod
    def of(cls, who: Ints, seed: int) -> "Circles":
        """Drawn by seed."""
        people = int(who.max()) + 1
        if people < 2:
            raise ValueError("a threshold needs at least two hold-out identities")
        rng = np.random.default_rng(seed)
        return cls(who, np.stack([rng.permutation(people) for _ in range(CIRCLES)]), seed)

    @property
    def people(self) -> int:
        """K."""
        return int(self.orders.shape[1])

    def strangers(self, similar: Callable[[slice], Similarity]) -> npt.NDArray[np.float32]:
        """(CIRCLES, H) float32: similarity of each hold-out image to the nearest of those who follow its person.

        Args:
            similar: gives the rows of a slice of the hold-out images against all of them, (n, H).
        """
        places = np.argsort(self.orders, axis=1)

        def look(rows: slice, block: Similarity) -> npt.NDArray[np.float32]:
            apart = self._by_person(block)
            who = self.who[rows]
            return np.stack([self._met(apart, circle, places[circle][who] + 1) for circle in range(CIRCLES)], axis=1)

        return np.concatenate(in_blocks(similar, len(self.who), len(self.who), look)).T

    def samples(self, similar: Callable[[slice], Similarity], n: int) -> tuple[Nearest, Met]:
        """The nearest of all hold-out images to each of N samples, and what it is like those whom it meets.

        Args:
            similar: gives the rows of a slice of the samples, (n, H).
            n: N.
        """
        circle = np.arange(n) % CIRCLES
        place = np.random.default_rng([self.seed, 1]).integers(self.people, size=n)

        def look(rows: slice, block: Similarity) -> tuple[Nearest, npt.NDArray[np.float32]]:
            apart = self._by_person(block)
            score = np.empty(len(block), np.float32)
            for one in range(CIRCLES):
                here = circle[rows] == one
                score[here] = self._met(apart[here], one, place[rows][here])
            return Nearest.of(block), score

        parts = in_blocks(similar, n, len(self.who), look)
        nearest = Nearest.joined([part for part, _ in parts])
        return nearest, Met(np.concatenate([score for _, score in parts]), circle)

    def _by_person(self, block: Similarity) -> Similarity:
        """(n, H) to (n, K): the nearest image of each person."""
        order = np.argsort(self.who, kind="stable")
        first = np.searchsorted(self.who[order], np.arange(self.people))
        found: Similarity = np.maximum.reduceat(block[:, order], first, axis=1)
        return found

    def _met(self, apart: Similarity, circle: int, first: Ints) -> npt.NDArray[np.float32]:
        """(n,) the nearest of those at the places `first`, (n,), and after, of (n, K) similarities to people."""
        met = max((self.people - 1) // 2, 1)
        places = (first[:, None] + np.arange(met)) % self.people
        found: npt.NDArray[np.float32] = np.take_along_axis(apart, self.orders[circle][places], axis=1).max(axis=1)
        return found
