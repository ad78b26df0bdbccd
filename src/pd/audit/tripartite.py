"""Sensitivity, specificity and consistency of a filter, over all thresholds and at the one that was chosen.

Koeken et al., "Sensitivity, Specificity, and Consistency: a tripartite evaluation of privacy filters" (arXiv 2510.01793).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from pd.audit import results
from pd.audit.estimate import Floats, from_draws, share

Scores = npt.NDArray[np.float32]
Decisions = npt.NDArray[np.bool_]

_POINTS = 101  # of a curve
_RESAMPLES = 1000


@dataclass(frozen=True)
class Curves:
    """What a detector does at each threshold.

    Attributes:
        thresholds: (T,) rising likenesses from which an image is dropped.
        sensitivity: kind of planted leak -> (T,) share of them that is dropped.
        specificity: (T,) share of strangers' images that is kept.
        kept: (T,) share of candidates that is kept; None without candidates.
    """

    thresholds: npt.NDArray[np.float64]
    sensitivity: dict[str, npt.NDArray[np.float64]]
    specificity: npt.NDArray[np.float64]
    kept: npt.NDArray[np.float64] | None

    def rounded(self) -> results.Curves:
        """To five digits."""
        return results.Curves(
            thresholds=_rounded(self.thresholds),
            sensitivity={kind: _rounded(values) for kind, values in self.sensitivity.items()},
            specificity=_rounded(self.specificity),
            **({} if self.kept is None else {"kept": _rounded(self.kept)}),
        )


def curves(planted: Mapping[str, Scores], strangers: Scores, candidates: Scores | None = None) -> Curves:
    """Curves of one detector. A likeness that is NaN is dropped at every threshold, as by the filter.

    Args:
        planted: kind of leak -> (n,) likeness of each planted image to the members.
        strangers: (s,) likeness of images of people whom neither the filter nor its calibration has seen.
        candidates: (c,) likeness of what is to be filtered.
    """
    everything = np.concatenate([*planted.values(), strangers, *([] if candidates is None else [candidates])])
    known = everything[np.isfinite(everything)].astype(np.float64)
    # From all dropped to none: just above the largest.
    thresholds = np.linspace(known.min(), np.nextafter(known.max(), np.inf), _POINTS)
    return Curves(
        thresholds=thresholds,
        sensitivity={kind: 1 - _below(scores, thresholds) for kind, scores in planted.items()},
        specificity=_below(strangers, thresholds),
        kept=None if candidates is None else _below(candidates, thresholds),
    )


def at_point(
    planted: Mapping[str, Decisions], people: Mapping[str, Sequence[str]], strangers: Decisions, who: Sequence[str]
) -> results.AtPoint:
    """Sensitivity and specificity with intervals over people.

    Args:
        planted: kind of leak -> (n,) bool, whether each is dropped.
        people: kind of leak -> n names, whose image each was made from.
        strangers: (s,) bool, whether each image of a stranger is dropped.
        who: s names.
    """
    caught = {kind: share(dropped, people[kind]) for kind, dropped in planted.items()}
    return results.AtPoint(sensitivity=caught, specificity=share(~strangers, who))


def consistency(dropped: Decisions, *, seed: int) -> results.Agreement | None:
    """Agreement of filters that differ in their seeds alone, mean over pairs of them: Cohen's kappa of the decisions, Jaccard's
    index of what is dropped. None where a filter drops all or nothing, so that kappa says nothing.

    The intervals are of these very filters on other candidates. How far a pair of other seeds may be from the mean, the spread
    of the pairs shows.

    Args:
        dropped: (S, N) bool, the decisions of S >= 2 filters on the same N candidates.
        seed: of the resampling.
    """
    n = dropped.shape[1]
    if (dropped.all(axis=1) | ~dropped.any(axis=1)).any():
        return None
    # Candidates on which the filters say the same are one row that counts often: 2^S rows at most.
    patterns, count = np.unique(dropped, axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, count / n, size=_RESAMPLES)
    of_pairs = _agreement(patterns, count[None])
    kappa, jaccard = (
        from_draws(float(pairs.mean()), draws.mean(axis=0), n)
        for pairs, draws in zip(of_pairs, _agreement(patterns, drawn), strict=True)
    )
    kappas, jaccards = ([float(pairs.min()), float(pairs.max())] for pairs in of_pairs)
    return results.Agreement(kappa=kappa, jaccard=jaccard, kappa_of_pairs=kappas, jaccard_of_pairs=jaccards, seeds=len(dropped))


def _agreement(patterns: Decisions, counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Kappa and Jaccard index of each pair for each row of counts: scikit-learn's numbers, for all resamples at once.

    Args:
        patterns: (S, P) bool, what each filter says of each kind of candidate.
        counts: (B, P) how many candidates are of each kind.

    Returns:
        (pairs, B) each, NaN where a resample does not define them.
    """
    part = counts / counts.sum(axis=1, keepdims=True)
    kappa, jaccard = [], []
    for a, b in combinations(patterns, 2):
        of_a, of_b, both, either = part @ a, part @ b, part @ (a & b), part @ (a | b)
        by_chance = of_a * of_b + (1 - of_a) * (1 - of_b)
        with np.errstate(invalid="ignore", divide="ignore"):
            kappa.append((1 - either + both - by_chance) / (1 - by_chance))
            jaccard.append(both / either)
    return np.array(kappa), np.array(jaccard)


def _below(scores: Scores, thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(T,) share of scores below each threshold; NaN is below none."""
    ordered = np.sort(scores[~np.isnan(scores)].astype(np.float64))
    return np.searchsorted(ordered, thresholds, side="left") / len(scores)


def _rounded(values: npt.NDArray[np.float64]) -> list[float]:
    return [round(float(value), 5) for value in values]
