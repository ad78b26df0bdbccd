"""Power: how large a leak an audit with these samples, people and attacker would have seen."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pd.audit.circles import Met
from pd.audit.nearest import Nearest
from pd.audit.reidentification import Comparison, excess

POWER = 0.8
LEAKED = 5
"""On how many members the supposed leak lies. Models that remember, remember few of their pictures, over and over (Carlini et
al., arXiv 2301.13188); and an interval that resamples people takes what lies on fewer than four for chance."""

_AUDITS = 40
_RESAMPLES = 200
_SAMPLES = 1000  # of a simulated audit, at most: more hardly narrow an interval that people make wide
_LEAST = 0.002  # share of samples that is tried first
_HALVINGS = 6  # of the range from there to 1, as ratios: to a tenth of the value


@dataclass(frozen=True)
class Power:
    """What could have been seen.

    Attributes:
        detectable: the smallest excess that the audit finds (an interval above 0) with 80 % probability, if the leak lies on
            LEAKED people; None where it would not find it if every sample were a picture of one of them.
        planted: the share of samples that are such pictures, then.
        words: the same as a sentence.
    """

    detectable: float | None
    planted: float | None
    words: str

    @property
    def blind(self) -> bool:
        """Whether no leak would have been found."""
        return self.detectable is None


def power(compared: Comparison, pictures: npt.NDArray[np.float32], *, alpha: float, seed: int) -> Power:
    """Plant leaks of known size in simulated audits and count how often they are found, by the very estimator and interval.

    A simulated audit draws members, hold-out people and samples with replacement from this one's (the samples with whom they
    resemble), after its own leak is taken out. Then pictures of a few members take the place of some samples. They resemble
    these as much as another real picture of a member does: a leak of fainter likenesses must be larger to be seen.

    Args:
        compared: of the samples, by the attacker.
        pictures: (L,) float32, similarity of real pictures of members to their nearest other one in the member gallery.
        alpha: share of strangers that may pass.
        seed: of planting and resampling.
    """
    without = _without_leak(compared)
    audits = [_Simulated(without, pictures, np.random.default_rng([seed, number])) for number in range(_AUDITS)]

    def seen(share: float) -> bool:
        missed = 0
        for number, one in enumerate(audits):
            found = excess(one.with_leak(share), alpha=alpha, bootstrap=_RESAMPLES, seed=seed + number)
            missed += found.excess.low <= 0
            if missed > (1 - POWER) * _AUDITS:
                return False
        return True

    if not seen(1.0):
        return Power(
            None,
            None,
            "This audit could not have seen a leak reliably: had every sample been a picture of a member, it would still have "
            "missed it more than 20 times in 100. Its people or samples are too few, or its attackers recognise too little.",
        )
    below, above = _LEAST, 1.0
    for _ in range(_HALVINGS):
        middle = float(np.sqrt(below * above))
        below, above = (below, middle) if seen(middle) else (middle, above)
    size = [excess(one.with_leak(above), alpha=alpha, bootstrap=1, seed=seed).excess.value for one in audits]
    detectable = float(np.mean(size))
    people = min(LEAKED, int(compared.members.max()) + 1)
    return Power(
        detectable,
        above,
        f"Had {100 * above:.1f} % of the samples been pictures of {people} members, for an excess of {100 * detectable:.1f} %, "
        f"this audit would have found it {100 * POWER:.0f} times in 100; a fainter leak, or one of fewer people, must be "
        "larger.",
    )


def _without_leak(compared: Comparison) -> Comparison:
    """The samples as if they had no excess at any threshold: no more of them resemble members than resemble hold-out people.

    To take away those above the threshold alone is not enough: simulated audits draw other strangers, whose lower thresholds
    let others of the leaking samples pass, and what is then seen was there before anything was planted.
    """
    met = compared.met
    members = np.sort(compared.stranger_to_member)
    # Likenesses to a larger gallery are larger: on the members' scale, as strangers know it, in place of the hold-out people's.
    scaled = np.empty(len(met.score))
    for circle, scores in enumerate(compared.stranger_to_others):
        here, others = met.circle == circle, np.sort(scores)
        scaled[here] = np.interp(met.score[here], others, members)
        scaled[here] += np.maximum(met.score[here] - others[-1], 0) + np.minimum(met.score[here] - others[0], 0)
    score = compared.to_member.score.copy()
    order = np.argsort(score, kind="stable")
    score[order] = np.minimum(score[order], np.sort(scaled)).astype(np.float32)
    return replace(compared, to_member=Nearest(score, compared.to_member.row))


class _Simulated:
    """An audit of other people and samples, drawn from those of a real one."""

    def __init__(self, compared: Comparison, pictures: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
        members, strangers = int(compared.members.max()) + 1, int(compared.holdout.max()) + 1
        ours, theirs = rng.integers(members, size=members), rng.integers(strangers, size=strangers)
        to_member, to_holdout = compared.members[compared.to_member.row], compared.holdout[compared.to_holdout.row]
        weight = np.bincount(ours, minlength=members)[to_member] * np.bincount(theirs, minlength=strangers)[to_holdout]
        n = min(len(weight), _SAMPLES)
        rows = rng.choice(len(weight), n, p=weight / weight.sum() if weight.any() else None)
        images = [np.flatnonzero(compared.holdout == person) for person in theirs]
        image = np.concatenate(images)
        first = np.cumsum([0, *map(len, images)])[:-1]
        self._compared = Comparison(
            to_member=Nearest(compared.to_member.score[rows], _place(to_member[rows], ours, rng)),
            to_holdout=Nearest(compared.to_holdout.score[rows], first[_place(to_holdout[rows], theirs, rng)]),
            met=Met(compared.met.score[rows], compared.met.circle[rows]),
            stranger_to_member=compared.stranger_to_member[image],
            stranger_to_others=compared.stranger_to_others[:, image],
            members=np.arange(members),
            holdout=np.repeat(np.arange(strangers), list(map(len, images))),
        )
        self._order, self._likeness = rng.permutation(n), rng.choice(pictures, n)
        leaked = rng.permutation(members)[:LEAKED]
        self._leaked = rng.choice(leaked, n)

    def with_leak(self, share: float) -> Comparison:
        """With so many of the samples pictures of members."""
        planted = self._order[: round(share * len(self._order))]
        score, row = self._compared.to_member.score.copy(), self._compared.to_member.row.copy()
        score[planted], row[planted] = self._likeness[planted], self._leaked[planted]
        return replace(self._compared, to_member=Nearest(score, row))


def _place(who: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(N,) where each of N people stands among those drawn; who was drawn several times, at any of these places."""
    order = np.argsort(drawn, kind="stable")
    low, high = (np.searchsorted(drawn[order], who, side) for side in ("left", "right"))
    at = low + (rng.random(len(who)) * np.maximum(high - low, 1)).astype(np.int64)
    found: npt.NDArray[np.int64] = order[np.minimum(at, len(order) - 1)]  # all drawn people's samples weigh 0: anybody
    return found
