"""Lower bounds on epsilon from canaries in one training (Steinke, Nasr & Jagielski, arXiv 2305.08846).

Of m canaries each is put in by the toss of a coin. Whoever sees only what is released guesses for r of them whether they
were in, and is right v times. If the training is (epsilon, delta)-private, being right so often has a probability of at
most `p_value`; an epsilon for which that is below 1 - confidence is refuted.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LowerBound:
    """What canaries show.

    Attributes:
        epsilon: any smaller one is refuted at this confidence.
        confidence: of that.
        canaries: m.
        guesses: r.
        right: v.
    """

    epsilon: float
    confidence: float
    canaries: int
    guesses: int
    right: int


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Most that an (epsilon, delta)-private training can have as the probability of so many right guesses (theorem 5.2)."""
    from scipy.stats import binom

    chance = 1.0 / (1.0 + np.exp(-epsilon))
    above = float(binom.sf(right - 1, guesses, chance))
    if not delta or not right:
        return min(1.0, above)
    below = binom.pmf(right - np.arange(1, right + 1), guesses, chance).cumsum()
    slope = float((below / np.arange(1, right + 1)).max())
    return min(1.0, above + slope * delta * 2 * canaries)


def lower_bound(canaries: int, guesses: int, right: int, delta: float, confidence: float = 0.95) -> LowerBound:
    """The largest epsilon that is refuted, by bisection; 0 where none is."""
    low, high = 0.0, 50.0
    if guesses == 0 or p_value(canaries, guesses, right, 0.0, delta) >= 1 - confidence:
        return LowerBound(0.0, confidence, canaries, guesses, right)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(canaries, guesses, right, middle, delta) < 1 - confidence else (low, middle)
    return LowerBound(low, confidence, canaries, guesses, right)


def judge(
    scores: Floats, inserted: npt.NDArray[np.bool_], delta: float, share: float = 0.2, confidence: float = 0.95
) -> LowerBound:
    """The bound from scores: the highest are guessed to have been in, the lowest not.

    Args:
        scores: (m,), higher where a canary looks as if it was learned from.
        inserted: (m,) bool, the truth.
        delta: of the claim.
        share: of the canaries guessed in, and as many out; fixed before the scores are seen.
        confidence: of the bound.
    """
    if scores.shape != inserted.shape:
        raise ValueError(f"{scores.shape} scores for {inserted.shape} canaries")
    each = max(1, round(share * len(scores)))
    order = np.argsort(scores, kind="stable")
    right = int(inserted[order[-each:]].sum()) + int((~inserted[order[:each]]).sum())
    return lower_bound(len(scores), 2 * each, right, delta, confidence)
