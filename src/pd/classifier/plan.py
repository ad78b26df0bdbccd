"""From settings and a number of people to votes, noise and the ledger: all of it public, all before any training.

What one person can change is one teacher. So a query's counts of votes change in two places by one each, an L2 distance of
sqrt(2), whatever was asked before: answers, and queries that follow from them, add up as Gaussian sums. This holds under both
relations, a person's images being replaced by nothing or by another's.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from pd.config.classifier import ClassifierSettings
from pd.dp.budget import check_delta, gaussian_mu, noise_for
from pd.dp.events import unprotected
from pd.dp.ledger import Ledger
from pd.dp.votes import ConfidentGNMax, GNMax
from pd.errors import UserError
from pd.formal.plan import sgd_event

LEAST_OF_A_TEACHER = 20  # people from which a teacher learns anything of use; a guess. ours
USEFUL = 0.9  # of the answers right, if all teachers agree, from which a plain word follows. ours
DOUBTFUL = 0.5  # ours


@dataclass(frozen=True)
class Plan:
    """What will be done with private data, and what it costs.

    Attributes:
        people: members, a public number.
        teachers: K.
        queries: that teachers are asked; 0: there are no votes.
        answers: at most; fewer than the queries where only those that most agree on are answered.
        sigma: deviation of the noise on each count, in votes.
        check: of the noise on the check whether most agree; None: there is none.
        sgd_noise: noise multiplier of private gradients; None: there are none.
        sgd_rate: probability with which a person is drawn a step.
        sgd_steps: private steps.
        ledger: all of it.
        reading: `sound`, or `paper`, whose epsilon is no guarantee.
    """

    people: int
    teachers: int
    queries: int
    answers: int
    sigma: float | None
    check: float | None
    sgd_noise: float | None
    sgd_rate: float
    sgd_steps: int
    ledger: Ledger
    reading: str

    def to_json(self) -> dict[str, Any]:
        """What a resumed training must agree with."""
        return asdict(self) | {"ledger": self.ledger.to_json()}


def make_plan(settings: ClassifierSettings, people: int) -> Plan:
    """The plan of these settings.

    Args:
        settings: of the section `classifier`.
        people: members.

    Raises:
        UserError: delta is too large, people are too few, or the queries cost more than the budget.
    """
    if people < 2:
        raise UserError(
            f"{people} people",
            code="too-few-people",
            where="classifier",
            fix="a guarantee for one person among others needs at least two",
        )
    check_delta(settings.delta, people, where="classifier.delta")
    voted = settings.method != "dp_sgd"
    if voted and people < 2 * settings.teachers:
        raise UserError(
            f"{people} people for {settings.teachers} teachers",
            code="too-few-people",
            where="classifier.teachers",
            fix=f"set {max(2, people // 2)} or fewer: a teacher needs at least two people",
        )
    graded = not voted or (settings.generates and settings.accounting == "sound" and settings.against == "dp_sgd")
    rate = min(1.0, settings.sgd_batch / people)
    answers = (settings.answers or max(1, settings.queries // 2)) if settings.votes == "confident" else settings.queries

    def votes(ledger: Ledger, sigma: float) -> Ledger:
        return spend_votes(ledger, settings, answers, sigma) if voted else ledger

    def gradients(ledger: Ledger, noise: float) -> Ledger:
        what = "noisy sums of people's clipped gradients"
        return ledger.spend(what, sgd_event(settings.sgd_steps, rate, noise)) if graded else ledger

    sigma, noise = settings.sigma, None
    if voted and sigma is None:
        share = 1.0 - settings.against_share if graded else 1.0
        sigma = _sigma(settings, answers, gaussian_mu(settings.epsilon, settings.delta) * math.sqrt(share))
        if not graded:
            sigma = noise_for(
                settings.epsilon, settings.delta, lambda s: votes(Ledger(), s), where="classifier.epsilon", least=0.5
            )
    spent = votes(Ledger(), sigma) if sigma is not None else Ledger()
    # votes alone are one Gaussian: whether they are too many is known at once; loss distributions are slow where noise is small
    if sigma is not None and _mu(settings, answers, sigma) > gaussian_mu(settings.epsilon, settings.delta) * (1 + 1e-6):
        raise UserError(
            f"{settings.queries} queries with noise {sigma:g} cost epsilon "
            f"{spent.epsilon(settings.delta, ('rdp',)).value:.4g}, beyond {settings.epsilon:g}",
            code="over-budget",
            where="classifier.queries",
            fix="ask fewer, or leave classifier.sigma open: the noise then follows from epsilon",
        )
    if graded:
        noise = noise_for(settings.epsilon, settings.delta, lambda given: gradients(spent, given), where="classifier.epsilon")
        spent = gradients(spent, noise)
    queries = settings.queries if voted else 0
    check = settings.check_ratio * sigma if sigma is not None and settings.votes == "confident" else None
    reading = settings.accounting
    if reading == "paper":
        spent = _published(spent)
    steps = settings.sgd_steps if graded else 0
    return Plan(people, settings.teachers, queries, answers if voted else 0, sigma, check, noise, rate, steps, spent, reading)


def _published(votes: Ledger) -> Ledger:
    """What the paper counts, and what it does not."""

    return votes.spend("a generator that learned against a classifier of all private data, as published", unprotected())


def spend_votes(ledger: Ledger, settings: ClassifierSettings, answers: int, sigma: float) -> Ledger:
    """The ledger with all answers that may be given."""
    if settings.votes == "confident":
        mechanism = ConfidentGNMax(0.0, settings.check_ratio * sigma, sigma, answers)
        checks, given = mechanism.events(settings.queries)
        return ledger.spend("noisy checks whether most teachers agree", checks).spend("noisy votes of teachers", given)
    return ledger.spend("noisy votes of teachers", GNMax(sigma).event(settings.queries))


def _sigma(settings: ClassifierSettings, answers: int, mu: float) -> float:
    """Noise with which all answers have this mu of Gaussian differential privacy."""
    return _mu(settings, answers, 1.0) / mu


def _mu(settings: ClassifierSettings, answers: int, sigma: float) -> float:
    """mu of Gaussian differential privacy of all answers, and of the checks."""
    squares = 2.0 * answers
    if settings.votes == "confident":
        squares += settings.queries / settings.check_ratio**2
    return math.sqrt(squares) / sigma


def answers_right(votes: float, sigma: float, classes: int) -> float:
    """Probability that the noisy winner is the true one of which all `votes` teachers are sure: the most that can be hoped for.

    P(v + N_0 > max of the other N_i), by integration over N_0.
    """
    import numpy as np
    from scipy.stats import norm

    grid = np.linspace(-9.0, 9.0, 4001)
    inside = norm.pdf(grid) * norm.cdf(grid + votes / sigma) ** (classes - 1)
    return float(np.trapezoid(inside, grid))


def teachers_needed(sigma: float, classes: int, right: float = USEFUL) -> int:
    """The fewest teachers of one mind whose answers are right so often."""
    low, high = 1, 2
    while answers_right(high, sigma, classes) < right:
        high *= 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if answers_right(middle, sigma, classes) >= right else (middle + 1, high)
    return high


def in_words(settings: ClassifierSettings, plan: Plan, classes: int, weights: int) -> str:
    """Whether a classifier of any use can be expected, for a terminal; by counting, before any training."""
    if plan.sigma is None:
        signal = (gaussian_mu(settings.epsilon, settings.delta) * plan.people) ** 2 / weights
        counted = f"(mu n)^2 / weights = {signal:.3g}, where about 3 are needed"
        return f"a guarantee of use is out of reach: {counted}" if signal < 3.0 else f"by counting: {counted}"
    right = answers_right(plan.teachers, plan.sigma, classes)
    each = plan.people // plan.teachers
    counted = f"{right:.0%} of the answers right if all {plan.teachers} teachers agree, and {each} people for each teacher"
    needed = max(teachers_needed(plan.sigma, classes), 2) * LEAST_OF_A_TEACHER
    if right >= USEFUL and each >= LEAST_OF_A_TEACHER:
        return f"a classifier of use can be expected: {counted}"
    if right >= DOUBTFUL and each >= LEAST_OF_A_TEACHER:
        return f"whether the classifier will be of use is doubtful: {counted}"
    return (
        f"a guarantee of use is out of reach: {counted}. About {needed:,} people would be needed for {settings.queries} "
        f"queries at epsilon {settings.epsilon:g} ({needed / plan.people:.1f} times as many as there are), or fewer "
        "queries, or a larger epsilon"
    )
