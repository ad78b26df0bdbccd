"""The plan: what votes cost, against a second implementation; what cannot be paid for is said beforehand."""

import math

import numpy as np
import pytest
from refusals import refused_as
from scipy.optimize import brentq
from scipy.stats import norm

from pd.classifier.plan import answers_right, in_words, make_plan, teachers_needed
from pd.config import ClassifierSettings
from pd.dp.ledger import Ledger
from pd.errors import UserError


def settings(**more: object) -> ClassifierSettings:
    return ClassifierSettings.model_validate({"label": "x", **more})


def exact(mu: float, delta: float) -> float:
    """Epsilon of a Gaussian mechanism of this mu (Balle & Wang, arXiv 1805.06530, theorem 8), without dp-accounting."""

    def excess(epsilon: float) -> float:
        return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu) - delta

    return float(brentq(excess, 0.0, 60.0))


def by_renyi(queries: int, sigma: float, delta: float) -> float:
    """GNMax's data-independent bound as its paper has it: Renyi of order a is a / sigma^2 a query (its proposition 8)."""
    orders = np.linspace(1.01, 200, 20_000)
    return float((queries * orders / sigma**2 + math.log(1 / delta) / (orders - 1)).min())


@pytest.mark.parametrize(("queries", "sigma"), [(100, 40.0), (1000, 40.0), (286, 40.0), (500, 100.0)])
def test_epsilon_of_votes_is_that_of_a_second_implementation(queries: int, sigma: float) -> None:
    plan = make_plan(settings(epsilon=1000, sigma=sigma, queries=queries), 60_000)
    found = plan.ledger.epsilon(1e-5).value
    assert found == pytest.approx(exact(math.sqrt(2 * queries) / sigma, 1e-5), rel=2e-3)
    assert found >= exact(math.sqrt(2 * queries) / sigma, 1e-5) * (1 - 1e-6)  # rounded up, never down
    assert found <= by_renyi(queries, sigma, 1e-5)


@pytest.mark.parametrize(
    ("epsilon", "more"),
    [(2.0, {}), (10.0, {"votes": "confident", "answers": 100}), (10.0, {"method": "generated", "against": "dp_sgd"})],
)
def test_noise_keeps_the_budget_and_no_more_than_that(epsilon: float, more: dict[str, object]) -> None:
    plan = make_plan(settings(epsilon=epsilon, **more), 60_000)
    spent = plan.ledger.epsilon(1e-5).value
    assert epsilon * 0.95 < spent <= epsilon
    assert len(plan.ledger.entries) == (1 if not more else 2)
    assert Ledger.from_json(plan.to_json()["ledger"]) == plan.ledger


def test_confident_answers_are_paid_whole_and_need_less_noise() -> None:
    plain = make_plan(settings(queries=1000), 60_000)
    few = make_plan(settings(queries=1000, votes="confident", answers=200, check_ratio=5), 60_000)
    assert few.answers == 200
    assert few.sigma < plain.sigma  # type: ignore[operator]


@pytest.mark.parametrize(
    ("people", "more", "words"),
    [
        (60_000, {"sigma": 5.0, "queries": 1000}, "beyond 10"),
        (60, {"teachers": 50, "delta": 1e-3}, "60 people for 50 teachers"),
        (60_000, {"delta": 1e-4}, "not below 1 / 60,000"),
    ],
)
def test_what_cannot_be_paid_is_said(people: int, more: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_plan(settings(**more), people)


def test_the_published_way_counts_the_generator_as_unprotected() -> None:
    plan = make_plan(settings(method="generated", accounting="paper"), 60_000)
    assert math.isinf(plan.ledger.epsilon(1e-5).value)
    assert Ledger(entries=plan.ledger.entries[:1]).epsilon(1e-5).value <= 10


@pytest.mark.parametrize(("votes", "sigma", "classes"), [(50, 30.0, 10), (10, 20.0, 2), (250, 66.0, 10)])
def test_share_of_right_answers_is_that_of_a_simulation(votes: int, sigma: float, classes: int) -> None:
    noise = np.random.default_rng(0).normal(0, sigma, (200_000, classes))
    noise[:, 0] += votes
    assert answers_right(votes, sigma, classes) == pytest.approx((noise.argmax(1) == 0).mean(), abs=4e-3)
    needed = teachers_needed(sigma, classes)
    assert answers_right(needed, sigma, classes) >= 0.9 > answers_right(needed - 1, sigma, classes)


def test_few_people_are_told_how_many_are_needed() -> None:
    how = settings(epsilon=2, delta=1e-3, teachers=20)
    words = in_words(how, make_plan(how, 132), 2, 10_000)
    assert "out of reach" in words
    assert "people would be needed" in words
    assert "can be expected" in in_words(settings(teachers=250), make_plan(settings(teachers=250), 60_000), 10, 10_000)


@pytest.mark.parametrize(
    "more",
    [
        {"accounting": "paper"},
        {"answers": 3},
        {"method": "generated", "queries": 3},
        {"method": "generated", "queries": 8, "votes": "confident"},  # four answers in five rounds
        {"method": "vae", "queries": 80, "votes": "confident", "answers": 4},
        {"queries_from": "people"},
        {"width": 33},
    ],
)
def test_settings_that_do_not_go_together(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="ClassifierSettings"):
        settings(**more)


def test_one_turn_needs_no_more_answers_than_one() -> None:
    assert settings(method="generated", queries=8, votes="confident", against="dp_sgd").rounds == 5
    assert settings(method="generated", queries=10, votes="confident").rounds == 5
    assert [settings(width=width).width for width in (5, 8, 24, 32)] == [5, 8, 24, 32]


def test_nobody_has_no_plan() -> None:
    with refused_as("too-few-people", "0"):
        make_plan(settings(method="dp_sgd"), 0)
