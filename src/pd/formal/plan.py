"""From settings and a number of people to steps, batch, noise and the ledger: all of it public, all before any training."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from pd.config.formal import FormalSettings
from pd.dp.budget import Way, check_delta, gaussian_mu, noise_for
from pd.dp.events import Event, gaussian, one_of, poisson_sampled, times, unprotected
from pd.dp.ledger import Ledger
from pd.errors import UserError
from pd.formal import moments

FEWEST, MOST = 50, 600  # private steps of DP-SGD where settings leave them open; ours
STEPS = 200  # of an ensemble, and of the published accounting; ours
_RATE, LEAST = 1 / 60, 64  # share of the people a step, and the fewest; ours
CLIP_OF_OUTPUT = 1.0  # ensemble: norm of a batch's output gradient; ours
PAPER_DIVISOR = 500  # steps of the published schedule, by which its noise is divided


@dataclass(frozen=True)
class Plan:
    """What will be done with private data, and what it costs.

    Attributes:
        people: members, a public number.
        steps: private steps.
        rate: probability with which a person is drawn a step.
        noise: noise multiplier of the steps (of `ensemble`: deviation over the output gradient's clip).
        warm_up: noise multiplier of the warm-up's sums together; None: there is no warm-up.
        clip: of a person's gradient.
        draws: noise levels a person and step.
        ledger: all of it.
        reading: `sound`, or `paper`, whose epsilon is no guarantee.
    """

    people: int
    steps: int
    rate: float
    noise: float
    warm_up: float | None
    clip: float
    draws: int
    ledger: Ledger
    reading: str

    @property
    def expected(self) -> float:
        """People of a step, on average."""
        return self.people * self.rate

    def to_json(self) -> dict[str, Any]:
        """What a resumed training must agree with."""
        return asdict(self) | {"ledger": self.ledger.to_json()}


def make_plan(settings: FormalSettings, people: int) -> Plan:
    """The plan of these settings.

    Args:
        settings: of the section `formal`.
        people: members.

    Raises:
        UserError: delta is too large, the epsilon cannot be reached, or people are too few.
    """
    if people < 2:
        raise UserError(
            f"{people} people",
            code="too-few-people",
            where="formal",
            fix="a guarantee for one person among others needs at least two",
        )
    check_delta(settings.delta, people)
    steps = settings.steps or default_steps(settings, people)
    if settings.method == "dp_sad" and settings.accounting == "paper":
        event = times(steps, unprotected())
        ledger = Ledger().spend("dp_sad as published: a teacher without protection, private inputs", event)
        noise = paper_noise(settings, steps)
        return Plan(people, steps, _rate(settings, people), noise, None, settings.clip, 1, ledger, "paper")
    if settings.method == "dp_sad" and settings.teacher == "ensemble":
        if people < 2 * settings.teachers:
            raise UserError(
                f"{people} people for {settings.teachers} teachers",
                code="too-few-people",
                where="formal.teachers",
                fix=f"set {people // 2} or fewer: a teacher needs at least two people",
            )

        def spent(sigma: float) -> Ledger:
            return Ledger("replace").spend(
                "noisy output gradients of one of the teachers, drawn in secret",
                times(steps, one_of(settings.teachers, gaussian(sigma / 2))),
            )

        sigma = noise_for(settings.epsilon, settings.delta, spent)
        return Plan(people, steps, 0.0, sigma, None, CLIP_OF_OUTPUT, 1, spent(sigma), "sound")
    return _sgd_plan(settings, people, steps)


def way(settings: FormalSettings) -> Way:
    """Whose noise limits what is learned."""
    return "ensemble" if settings.method == "dp_sad" and settings.teacher == "ensemble" else "dp_sgd"


def default_steps(settings: FormalSettings, people: int) -> int:
    """Private steps where settings leave them open: as many as the budget carries at a noise multiplier of about 1.

    With fewer, noise is larger than it has to be; with more, it falls below 1, where subsampling no longer helps. A mechanism
    of noise 1 and rate q has mu = q sqrt(steps) about (Dong et al., arXiv 1905.02383, section 5.2), so steps = (mu / q)^2.
    Between FEWEST and MOST; these and the noise of 1 are ours.
    """
    if settings.accounting == "paper" or way(settings) == "ensemble":
        return STEPS
    share = 1.0 if settings.warm_up == "none" else 1.0 - settings.warm_up_share
    mu = gaussian_mu(settings.epsilon, settings.delta)
    return min(max(round(share * (mu / _rate(settings, people)) ** 2), FEWEST), MOST)


def _sgd_plan(settings: FormalSettings, people: int, steps: int) -> Plan:
    rate, mu = _rate(settings, people), gaussian_mu(settings.epsilon, settings.delta)
    warm_up = None if settings.warm_up == "none" else 1.0 / (mu * math.sqrt(settings.warm_up_share))

    def spent(noise: float) -> Ledger:
        ledger = Ledger()
        if warm_up is not None:
            ledger = moments.spend(ledger, settings.warm_up, warm_up)
        return ledger.spend("noisy sums of people's clipped gradients", sgd_event(steps, rate, noise))

    noise = noise_for(settings.epsilon, settings.delta, spent)
    return Plan(people, steps, rate, noise, warm_up, settings.clip, settings.noise_draws, spent(noise), "sound")


def sgd_event(steps: int, rate: float, noise: float) -> Event:
    """The event of so many steps of DP-SGD."""
    return times(steps, poisson_sampled(rate, gaussian(noise)))


def paper_noise(settings: FormalSettings, steps: int) -> float:
    """The noise multiplier that the paper would choose, as if each step were a Gaussian sum of sensitivity C."""
    return noise_for(
        settings.epsilon, settings.delta, lambda noise: Ledger().spend("as published", times(steps, gaussian(noise)))
    )


@dataclass(frozen=True)
class Published:
    """What the paper would say of a plan of its accounting, and what is left of its noise.

    Attributes:
        epsilon: that it would claim; it is no guarantee.
        effective: noise over the clip of one row's gradient, after the division by the schedule's steps.
    """

    epsilon: float
    effective: float

    def in_words(self) -> str:
        """For a terminal or a card."""
        return (
            f"no guarantee: the paper would claim epsilon {self.epsilon:.3g}, and its noise multiplier is in effect "
            f"{self.effective:.3g} for one row's gradient; one person moves a whole batch of them"
        )


def published(plan: Plan, delta: float) -> Published:
    """Of a plan whose reading is `paper`."""
    ledger = Ledger().spend("as published", times(plan.steps, gaussian(plan.noise)))
    return Published(ledger.epsilon(delta).value, plan.noise / PAPER_DIVISOR)


def _rate(settings: FormalSettings, people: int) -> float:
    """The probability with which a person is drawn a step."""
    return min(people, settings.batch or max(LEAST, round(people * _RATE))) / people
