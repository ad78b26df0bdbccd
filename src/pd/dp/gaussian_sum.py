"""Gaussian sums: clip each person's contribution, add up, add noise. The types keep what is private from what is released."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.dp.events import Event, gaussian
from pd.dp.noise import NoiseSource

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GaussianSum:
    """The Gaussian mechanism (Dwork & Roth 2014, appendix A) on a sum over people.

    Attributes:
        clip: L2 norm that one person's contribution is clipped to: the sum's sensitivity under `zero_out`.
        noise_multiplier: deviation of the noise, in units of `clip`.
    """

    clip: float
    noise_multiplier: float

    @property
    def event(self) -> Event:
        """What one release costs."""
        return gaussian(self.noise_multiplier)

    def release(self, rows: Floats, source: NoiseSource, *names: str | int) -> Floats:
        """The noisy sum.

        Args:
            rows: (N, d) float64, one row a person.
            source: of the noise.
            names: of this release; never the same for two.

        Returns:
            (d,) float64.
        """
        total: Floats = clipped(rows, self.clip).sum(axis=0)
        noisy: Floats = total + self.clip * self.noise_multiplier * source.normal(total.shape, *names)
        return noisy


def clipped(rows: Floats, clip: float) -> Floats:
    """Rows, (N, d), scaled down to an L2 norm of at most `clip`; one that is not finite counts for nothing."""
    norms = np.linalg.norm(rows, axis=1)
    factors = np.where(np.isfinite(norms), np.minimum(1.0, clip / np.maximum(norms, 1e-300)), 0.0)
    # rounding must not carry a norm above the sensitivity that was claimed
    factors = np.where(norms > clip, factors * (1 - 1e-12), factors)
    kept: Floats = np.where(np.isfinite(norms)[:, None], rows, 0.0) * factors[:, None]
    return kept
