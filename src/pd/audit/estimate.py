"""A measured value with its interval, and the bootstrap that gives it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval and the number of samples behind it."""

    value: float
    low: float
    high: float
    n: int


def from_draws(value: float, draws: Floats, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Percentile interval (Efron and Tibshirani 1993, chapter 13), widened where needed to hold the value itself.

    Args:
        value: the statistic on the data.
        draws: (B,) the statistic on B resamples; NaN where a resample does not define it.
        n: samples behind the value.
        confidence: of the interval.
    """
    defined = draws[np.isfinite(draws)]
    if not len(defined):
        raise ValueError("no resample defines the statistic")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)), int(n))


def of_people(
    value: float, draws: Floats, people: int, n: int, *, least: float = -1.0, confidence: float = CONFIDENCE
) -> Estimate:
    """The interval of a share, or a difference of shares, that people were resampled for: widened where they are few.

    A bootstrap over K people spreads sqrt((K - 1) / K) times too little, and Student's t replaces the normal law: the expanded
    percentile interval of Hesterberg, "What teachers should know about the bootstrap" (The American Statistician 2015).

    Args:
        value: the statistic on the data.
        draws: (B,) the statistic on B resamples; NaN where a resample does not define it.
        people: K, of the side that has fewer.
        n: samples behind the value.
        least: the smallest number it can be; the largest is 1.
        confidence: of the interval.
    """
    widening = students(people, confidence) / _normal(confidence)
    return from_draws(value, np.clip(value + widening * (draws - value), least, 1.0), n, confidence)


@lru_cache  # a simulation asks thousands of times, and scipy takes its time
def students(people: int, confidence: float = CONFIDENCE) -> float:
    """How many of a bootstrap's deviations over so many people half an interval is wide, by Student's t."""
    from scipy import stats

    freedom = max(people - 1, 1)
    return float(math.sqrt((freedom + 1) / freedom) * stats.t.ppf((1 + confidence) / 2, freedom))


@lru_cache
def _normal(confidence: float) -> float:
    from scipy import stats

    return float(stats.norm.ppf((1 + confidence) / 2))


def share(hits: npt.NDArray[np.bool_] | Floats, people: Sequence[str] | None = None) -> Estimate:
    """The share of hits with Wilson's interval (1927), which says something also where all or none are hits.

    Images of one person are not independent. So n counts for p (1 - p) / var, var being the variance between people (Korn
    and Graubard 1998), and where all images agree it cannot be seen, for as many as there are people.

    Args:
        hits: (N,) bool, N at least 1; or float, how often each is hit when it is tried several times.
        people: whose each of them is; None: each another's.
    """
    n, p = len(hits), float(hits.mean())
    effective = float(n)
    if people is not None:
        who = number(people)
        count = int(who.max()) + 1
        off = np.bincount(who, weights=hits - p)
        variance = float(np.square(off).sum()) * count / max(count - 1, 1) / n**2
        effective = min(p * (1 - p) / variance, n) if 0 < p < 1 and variance > 0 else float(count)
    z = 1.959964  # of the normal distribution, for CONFIDENCE
    centre, spread = p + z**2 / (2 * effective), z * math.sqrt(p * (1 - p) / effective + z**2 / (4 * effective**2))
    low, high = ((centre + sign * spread) / (1 + z**2 / effective) for sign in (-1, 1))
    return Estimate(p, min(max(low, 0.0), p), max(min(high, 1.0), p), n)


def number(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Names to 0..K-1 in sorted order, (N,) int64."""
    codes: npt.NDArray[np.int64] = np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1]
    return codes.reshape(-1).astype(np.int64)


def multiplicities(groups: int, bootstrap: int, rng: np.random.Generator) -> Floats:
    """How often each of `groups` identities is drawn in each resample: (B, groups) float64, rows sum to `groups`."""
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=bootstrap).astype(np.float64)
