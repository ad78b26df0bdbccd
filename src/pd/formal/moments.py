"""Warm-up on noisy sums: for each caption a Gaussian whose mean and covariance were released through the ledger.

Means as in DP-FETA (Li et al., arXiv 2504.01395: central images by the Gaussian mechanism). Covariances are ours: a common
one over all people gives the directions that matter, and one for each caption within them. What is sampled from these
Gaussians is post-processing, so a network may learn from as many samples as it likes.

Each release clips what a person adds. With x a person's mean latent (his images averaged), c his caption:
    means: sum over people of x_c, each in its caption's slot: one slot moves by at most `clip`;
    common: sum of d d^T with d = x - mean_c clipped to `spread`: moves by at most spread^2 in Frobenius norm;
    each: the same within the leading k directions, in each caption's slot.
A symmetric matrix is released by its upper triangle, off-diagonal entries times sqrt(2), so that L2 norms agree
(Dwork et al., "Analyze Gauss", STOC 2014).
How many people have a caption is released with the means, as the count times a weight: the row (x, w) is clipped as one.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.dp.gaussian_sum import GaussianSum, clipped
from pd.dp.ledger import Ledger
from pd.dp.noise import NoiseSource

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DIRECTIONS = 48  # ours
_SHARES = {"means": 0.2, "common": 0.3, "each": 0.5}  # of mu squared; ours
_CLIP, _SPREAD = 1.0, 0.6  # times sqrt(numbers), for latents of about unit deviation: MNIST's and Fashion-MNIST's; ours


@dataclass(frozen=True)
class Moments:
    """Released Gaussians. Post-processing of a ledger's events.

    Attributes:
        weights: (C,) estimated people of each caption, at least 1.
        means: (C, d).
        directions: (d, k), orthonormal; k may be 0.
        deviations: (C, k, k), square roots of the covariances within the directions.
    """

    weights: Floats
    means: Floats
    directions: Floats
    deviations: Floats

    def sample(self, captions: Ints, seed: int) -> npt.NDArray[np.float32]:
        """(n, d) float32 for n captions."""
        rng = np.random.default_rng(seed)
        drawn = rng.standard_normal((len(captions), self.directions.shape[1]))
        inside = np.einsum("nij,nj->ni", self.deviations[captions], drawn)
        made: npt.NDArray[np.float32] = (self.means[captions] + inside @ self.directions.T).astype(np.float32)
        return made


def plan(kind: str, noise_multiplier: float) -> dict[str, float]:
    """Noise multipliers of the releases that together cost one Gaussian of the given one."""
    parts = {"means": 1.0} if kind == "means" else _SHARES
    return {name: noise_multiplier / math.sqrt(share) for name, share in parts.items()}


def spend(ledger: Ledger, kind: str, noise_multiplier: float) -> Ledger:
    """The ledger with the warm-up's releases."""
    words = {
        "means": "noisy sums of the images of each caption",
        "common": "noisy covariance over all captions",
        "each": "noisy covariance of each caption",
    }
    for name, noise in plan(kind, noise_multiplier).items():
        ledger = ledger.spend(words[name], GaussianSum(1.0, noise).event)
    return ledger


def release(
    rows: Floats, captions: Ints, count: int, people: int, kind: str, noise_multiplier: float, source: NoiseSource
) -> Moments:
    """Release the Gaussians.

    Args:
        rows: (P, d) float64, a person's mean latent.
        captions: (P,) int64, below `count`.
        count: C, captions; public.
        people: P, public.
        kind: means or moments.
        noise_multiplier: of all releases together.
        source: of the noise.
    """
    noises = plan(kind, noise_multiplier)
    size = rows.shape[1]
    clip = _CLIP * math.sqrt(size)
    # the count's weight: a clip's worth would drown it no less than a mean's single number
    weight = clip / 2
    wide = clipped(np.concatenate([rows, np.full((len(rows), 1), weight)], axis=1), clip * math.sqrt(1.25))
    slots = np.zeros((count, size + 1))
    np.add.at(slots, captions, wide)
    reach = clip * math.sqrt(1.25)
    slots += reach * noises["means"] * source.normal(slots.shape, "warm-up means")
    weights = np.maximum(slots[:, -1] / weight, max(1.0, 0.1 * people / count))
    means = slots[:, :-1] / weights[:, None]
    directions, deviations = np.zeros((size, 0)), np.zeros((count, 0, 0))
    if kind == "moments":
        apart = clipped(rows - means[captions], _SPREAD * math.sqrt(size))
        unit = _SPREAD**2 * size
        noise = unit * noises["common"] / people
        values, vectors = np.linalg.eigh(
            _symmetric(apart.T @ apart, unit * noises["common"], source, "warm-up common") / people
        )
        # what noise alone can raise an eigenvalue to (Wigner's semicircle) is no direction
        strong = int((values > math.sqrt(2.0 * size) * noise).sum())
        directions = vectors[:, ::-1][:, : min(DIRECTIONS, strong)]
        common = np.diag(values[::-1][: directions.shape[1]])
        inside = apart @ directions
        found = []
        for caption in range(count):
            part = inside[captions == caption]
            noisy = _symmetric(part.T @ part, unit * noises["each"], source, "warm-up each", caption)
            found.append(_root(_shrunk(noisy / weights[caption], common, unit * noises["each"] / weights[caption])))
        deviations = np.stack(found)
    return Moments(weights, means, directions, deviations)


def _symmetric(total: Floats, deviation: float, source: NoiseSource, *names: str | int) -> Floats:
    """A symmetric sum with noise of this deviation on the diagonal, and of 1 / sqrt(2) of it elsewhere."""
    noise = source.normal(total.shape, *names) * deviation
    upper = np.triu(noise, 1) / math.sqrt(2.0)
    noisy: Floats = total + upper + upper.T + np.diag(np.diag(noise))
    return noisy


def _shrunk(noisy: Floats, common: Floats, noise: float) -> Floats:
    """A noisy covariance drawn towards the common one by the share of their difference that noise explains (James & Stein)."""
    if not noisy.size:
        return noisy
    share = min(1.0, noise**2 / 2 / max(float(np.square(noisy - common).mean()), 1e-300))
    drawn: Floats = (1 - share) * noisy + share * common
    return drawn


def _root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
