"""How well a recogniser tells people apart who are shown in a view: pictures in the view are looked for among clear ones.

Every picture is a probe once, in the view, and is compared with all clear pictures but its own. Cosines are counted in bins, by
the person who is looked for, so that resampling people costs no second look: the intervals are over people looked for, among a
gallery that stays as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, Floats, multiplicities, number, of_people
from pd.dataset.images import Pixels
from pd.reid.spaces.whitening import Rows
from pd.reid.views import seen

BINS = 4096  # of cosines from -1 to 1, each 5e-4 wide; ours
FPR = 1e-3
RESAMPLES = 500
_BLOCK = 512  # probes at a time

Embed = Callable[[Pixels], Rows]


@dataclass(frozen=True, eq=False)
class Measured:
    """A figure, and what resamples of people give: the same people in the same draws for everything of the same seed.

    Attributes:
        value: the figure.
        draws: (B,) the same on resamples.
        people: how many were looked for.
        probes: pictures.
    """

    value: float
    draws: Floats
    people: int
    probes: int

    @property
    def estimate(self) -> Estimate:
        """With its 95 % interval over people."""
        return of_people(self.value, self.draws, self.people, self.probes, least=0.0)

    def above(self, other: "Measured") -> Estimate:
        """How far it lies above another's figure of the same people, paired."""
        return of_people(self.value - other.value, self.draws - other.draws, self.people, self.probes)

    @classmethod
    def mean(cls, several: Sequence["Measured"]) -> "Measured":
        """The mean over trainings of the same people's figures."""
        values, draws = [one.value for one in several], [one.draws for one in several]
        return cls(float(np.mean(values)), np.mean(draws, axis=0), several[0].people, several[0].probes)


def verification(
    embed: Embed,
    images: Pixels,
    identities: Sequence[str],
    view: str,
    *,
    seed: int,
    clear: Rows | None = None,
    shown: npt.NDArray[np.bool_] | None = None,
) -> dict[str, Measured]:
    """AUC, rank-1 and the true positive rate at a false positive rate of 1e-3.

    Args:
        embed: (N, H, W, C) uint8 -> (N, d) unit rows.
        images: (N, H, W, C) uint8, of people whom the recogniser has not learned.
        identities: N names.
        view: of `pd.reid.views`.
        seed: of the view and of the resamples.
        clear: the rows of the pictures as they are, where they are known.
        shown: (N,) pictures that are looked for; the others are the gallery. None: each picture, in all others.

    Returns:
        `auc`, `rank1`, `tpr`.
    """
    who = number(identities)
    gallery = embed(images) if clear is None else clear
    probes = np.arange(len(images)) if shown is None else np.flatnonzero(shown)
    rows = embed(seen(images[probes], view, seed))
    people = int(who.max()) + 1
    same, other = np.zeros((people, BINS)), np.zeros((people, BINS))
    hits, mated = np.zeros(people), np.zeros(people)
    hidden = np.zeros(len(images), bool) if shown is None else shown
    for at in range(0, len(probes), _BLOCK):
        part = probes[at : at + _BLOCK]
        cosines = rows[at : at + _BLOCK] @ gallery.T
        bins = np.clip((cosines + 1) * (BINS / 2), 0, BINS - 1).astype(np.int64)
        for row, probe in enumerate(part):
            counts = ~hidden
            counts[probe] = False
            own = (who == who[probe]) & counts
            person = who[probe]
            same[person] += np.bincount(bins[row, own], minlength=BINS)
            other[person] += np.bincount(bins[row, counts & ~own], minlength=BINS)
            if own.any():
                mated[person] += 1
                hits[person] += bool(own[np.where(counts, cosines[row], -np.inf).argmax()])
    drawn = multiplicities(people, RESAMPLES, np.random.default_rng(seed))
    weights = np.concatenate([np.ones((1, people)), drawn])
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = {"auc": [], "rank1": list((weights @ hits) / (weights @ mated)), "tpr": []}  # type: dict[str, list[float]]
        for s, o in zip(weights @ same, weights @ other, strict=True):
            auc, tpr = _curve(s, o)
            figures["auc"].append(auc)
            figures["tpr"].append(tpr)
    looked = len(set(who[probes].tolist()))
    return {name: Measured(float(values[0]), np.array(values[1:]), looked, len(probes)) for name, values in figures.items()}


def _curve(same: Floats, other: Floats) -> tuple[float, float]:
    """AUC, and the true positive rate where at most FPR of the others pass, of weighted counts by bin."""
    total_same, total_other = same.sum(), other.sum()
    if not total_same or not total_other:
        return float("nan"), float("nan")
    below = np.cumsum(other) - other
    auc = float((same * (below + other / 2)).sum() / (total_same * total_other))
    passing = np.cumsum(other[::-1])[::-1] / total_other  # of others, from each bin up
    allowed = np.flatnonzero(passing <= FPR)
    return auc, float(same[allowed[0] :].sum() / total_same) if len(allowed) else 0.0
