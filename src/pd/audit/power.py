"""Power: how large a leak an audit with so many samples, these people and this attacker would see.

It depends on nothing that the samples look like: a leak that is there must not pass for strangers' chance, and samples that
resemble nobody must not make the audit seem keen.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from pd.audit.estimate import CONFIDENCE
from pd.audit.impostor_sets import CIRCLES, Met
from pd.audit.nearest import Nearest
from pd.audit.recognition import Recognised
from pd.audit.reidentification import Comparison, excess

POWER = 0.8
LEAKED = 5
"""On how many members the supposed leak lies. Models that remember, remember few of their pictures, over and over (Carlini et
al., arXiv 2301.13188); and an interval that resamples people takes what lies on fewer than four for chance."""

_AUDITS = 30
_RESAMPLES = 120
_SAMPLES = 1000  # of a simulated audit, at most: more hardly narrow an interval that people make wide
_LEAST = 0.002  # share of samples that is tried first
_HALVINGS = 6  # of the range from there to 1, as ratios: to a tenth of the value

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Power:
    """What could have been seen.

    Attributes:
        detectable: the smallest excess that the audit finds (an interval above 0) with 80 % probability, if the leak lies on
            LEAKED people; None where it would not find it if every sample were a picture of one of them.
        planted: the share of samples that are such pictures, then.
    """

    detectable: float | None
    planted: float | None


def power(
    pictures: Recognised,
    stranger_to_others: npt.NDArray[np.float32],
    members: Ints,
    holdout: Ints,
    *,
    samples: int,
    alpha: float,
    seed: int,
    looks: int = 1,
) -> Power:
    """Plant leaks of known size in simulated audits and count how often they are found, by the very estimator and interval.

    A simulated audit draws members and hold-out people with replacement from this one's. Its samples are alike to both as
    strangers are; then pictures of a few members take the place of some.

    Args:
        pictures: what the attacker sees of pictures of members, and of strangers against the same gallery.
        stranger_to_others: (CIRCLES, H) float32, similarity of hold-out images to the hold-out people whom they meet.
        members: (M,) who is in each member image.
        holdout: (H,) who is in each hold-out image.
        samples: of the audit.
        alpha: share of strangers that may pass.
        seed: of planting and resampling.
        looks: attackers of which the worst is told, so that each may miss so many times less. So few resamples have no such
            tail: the interval is made longer as a normal distribution's would be.
    """
    longer = float(stats.norm.ppf(1 - (1 - CONFIDENCE) / looks / 2) / stats.norm.ppf((1 + CONFIDENCE) / 2))
    n = min(samples, _SAMPLES)
    people = int(members.max()) + 1
    audits = [
        _Simulated(pictures, stranger_to_others, people, holdout, n, np.random.default_rng([seed, number]))
        for number in range(_AUDITS)
    ]

    def seen(share: float) -> bool:
        missed = 0
        for number, one in enumerate(audits):
            found = excess(one.with_leak(share), alpha=alpha, bootstrap=_RESAMPLES, seed=seed + number).excess
            missed += found.value - longer * (found.value - found.low) <= 0
            if missed > (1 - POWER) * _AUDITS:
                return False
        return True

    if not seen(1.0):
        return Power(None, None)
    below, above = _LEAST, 1.0
    for _ in range(_HALVINGS):
        middle = float(np.sqrt(below * above))
        below, above = (below, middle) if seen(middle) else (middle, above)
    size = [excess(one.with_leak(above), alpha=alpha, bootstrap=1, seed=seed).excess.value for one in audits]
    return Power(float(np.mean(size)), above)


class _Simulated:
    """An audit of other people, drawn from those of a real one, and of samples that are strangers to all of them."""

    def __init__(
        self,
        pictures: Recognised,
        stranger_to_others: npt.NDArray[np.float32],
        members: int,
        holdout: Ints,
        n: int,
        rng: np.random.Generator,
    ) -> None:
        strangers = int(holdout.max()) + 1
        theirs = rng.integers(strangers, size=strangers)
        images = [np.flatnonzero(holdout == person) for person in theirs]
        image = np.concatenate(images)
        first = np.cumsum([0, *map(len, images)])[:-1]
        # A sample is like members as one stranger's picture is, and like hold-out people as another's.
        seen, met = rng.integers(len(holdout), size=(2, n))
        circle = np.arange(n) % CIRCLES
        self._compared = Comparison(
            to_member=Nearest(pictures.strangers[seen], rng.integers(members, size=n)),
            to_holdout=Nearest(stranger_to_others[circle, met], first[rng.integers(strangers, size=n)]),
            met=Met(stranger_to_others[circle, met], circle),
            stranger_to_member=pictures.strangers[image],
            stranger_to_others=stranger_to_others[:, image],
            members=np.arange(members),
            holdout=np.repeat(np.arange(strangers), list(map(len, images))),
        )
        self._order, self._likeness = rng.permutation(n), rng.choice(pictures.scores, n)
        leaked = rng.permutation(members)[:LEAKED]
        self._leaked = rng.choice(leaked, n)

    def with_leak(self, share: float) -> Comparison:
        """With so many of the samples pictures of members."""
        planted = self._order[: round(share * len(self._order))]
        score, row = self._compared.to_member.score.copy(), self._compared.to_member.row.copy()
        score[planted], row[planted] = self._likeness[planted], self._leaked[planted]
        return replace(self._compared, to_member=Nearest(score, row))
