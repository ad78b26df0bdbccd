"""What an epsilon buys: the noise that it needs, and whether anything is left to learn."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pd.dp.ledger import Ledger
from pd.errors import UserError

# Squared signal to noise of a whole training, per trained number, from which a plain word follows. With 250,000 weights and
# 60,000 people epsilon 1 has about 1,000, epsilon 10 about 50,000. Where the words begin is a guess, not measured. ours
PLENTY, LITTLE = 300.0, 3.0
_LEAST_NOISE, _MOST_NOISE = 0.2, 1e4


def noise_for(
    epsilon: float,
    delta: float,
    ledger: Callable[[float], Ledger],
    *,
    where: str = "formal.epsilon",
    least: float = _LEAST_NOISE,
) -> float:
    """The smallest noise multiplier (to 1 in 200, never below what is needed) whose ledger stays within a budget.

    Args:
        epsilon: most that may be spent.
        delta: at this delta.
        ledger: of a noise multiplier; epsilon falls with it.
        where: named where it cannot be reached.
        least: noise below which the accountants' numbers are of no use.

    Raises:
        UserError: no noise reaches it; the nearest epsilon that can be reached is named.
    """

    def spent(noise: float, *accountants: str) -> float:
        try:
            return ledger(noise).epsilon(delta, accountants or ("rdp", "pld")).value
        except UserError:
            if not accountants:
                raise
            return math.inf

    if spent(_MOST_NOISE) > epsilon:
        raise UserError(
            f"epsilon {epsilon:g} cannot be reached at delta {delta:g}",
            code="over-budget",
            where=where,
            fix=f"the nearest that these settings reach is {spent(_MOST_NOISE):.3g}: use fewer steps, or a larger delta",
        )
    # Renyi divergences are quick, and give enough noise, perhaps too much; loss distributions are slow where noise is small
    low, high = least, _MOST_NOISE
    if spent(high, "rdp") <= epsilon:
        while high / low > 1.05:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if spent(middle, "rdp") <= epsilon else (middle, high)
    low = high
    while low > least and spent(low := max(least, low / 1.2)) <= epsilon:
        high = low
    while high / low > 1.005:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if spent(middle) <= epsilon else (middle, high)
    return high


def gaussian_mu(epsilon: float, delta: float) -> float:
    """mu of Gaussian differential privacy (Dong et al., arXiv 1905.02383, corollary 2.13) that has this epsilon at delta."""
    from scipy.stats import norm

    def delta_of(mu: float) -> float:
        tail = math.exp(min(epsilon + float(norm.logcdf(-epsilon / mu - mu / 2)), 700.0))  # exp(epsilon) alone may overflow
        return float(norm.cdf(-epsilon / mu + mu / 2)) - tail

    low, high = 1e-6, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle) < delta else (low, middle)
    return low


Way = Literal["dp_sgd", "ensemble"]
"""Whose noise limits what is learned: that on people's gradients, or that on outputs of teachers."""


@dataclass(frozen=True)
class Prospects:
    """What can be expected of a budget, by counting (squared signal to noise, per trained number, over a whole training).

    Attributes:
        mu: of Gaussian differential privacy.
        dp_sgd: (mu n)^2 / trained weights.
        ensemble: (mu K / 2)^2 / outputs' dimension.
        way: which of the two applies.
        word: useful, doubtful or out of reach, by that one.
    """

    mu: float
    dp_sgd: float
    ensemble: float
    way: Way
    word: str

    @property
    def signal(self) -> float:
        """The figure of the way that applies."""
        return self.dp_sgd if self.way == "dp_sgd" else self.ensemble


def prospects(
    epsilon: float, delta: float, people: int, weights: int, teachers: int, outputs: int, way: Way = "dp_sgd"
) -> Prospects:
    """Count what a budget can carry.

    Args:
        epsilon: of the whole training.
        delta: with it.
        people: n, members.
        weights: numbers that DP-SGD trains.
        teachers: K, of an ensemble.
        outputs: numbers of one output of the student.
        way: which of the two is done.
    """
    mu = gaussian_mu(epsilon, delta)
    sgd, ensemble = (mu * people) ** 2 / weights, (mu * teachers / 2) ** 2 / outputs
    return Prospects(mu, sgd, ensemble, way, word(sgd if way == "dp_sgd" else ensemble))


def word(signal: float) -> str:
    """A plain word for a squared signal to noise."""
    return "useful" if signal >= PLENTY else "doubtful" if signal >= LITTLE else "out of reach"


def check_delta(delta: float, people: int, *, where: str = "formal.delta") -> None:
    """Refuse a delta with which publishing one person at random would be within the guarantee."""
    people = max(people, 1)
    if not 0 < delta < 1 / people:
        raise UserError(
            f"delta {delta:g} is not below 1 / {people:,} people",
            code="bad-value",
            where=where,
            fix=f"set {10 ** math.floor(math.log10(0.5 / people)):g} or less",
        )
