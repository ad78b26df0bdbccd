"""Lower bounds hold for mechanisms whose epsilon is known, and refute claims that are false."""

import numpy as np
import pytest

from pd.dp.canaries import judge, lower_bound, p_value


def test_p_value_without_delta_is_the_binomial_tail() -> None:
    from scipy.stats import binom

    e = np.exp(1.0)
    assert p_value(100, 50, 40, 1.0, 0.0) == pytest.approx(binom.sf(39, 50, e / (1 + e)))
    assert p_value(100, 50, 40, 1.0, 1e-5) > p_value(100, 50, 40, 1.0, 0.0)


def test_chance_refutes_nothing_and_certainty_much() -> None:
    assert lower_bound(1000, 400, 205, 1e-5).epsilon == 0.0
    assert lower_bound(1000, 400, 400, 1e-5).epsilon > 3.0
    assert lower_bound(1000, 0, 0, 1e-5).epsilon == 0.0


def test_all_right_has_its_closed_form() -> None:
    """v = r and delta = 0: (e^eps / (1 + e^eps))^r = 0.05."""
    q = 0.05 ** (1 / 200)
    assert lower_bound(200, 200, 200, 0.0).epsilon == pytest.approx(np.log(q / (1 - q)), rel=1e-6)


def test_bound_of_randomised_response_is_rarely_above_its_epsilon() -> None:
    rng = np.random.default_rng(0)
    epsilon, above, found = 1.0, 0, []
    for _ in range(200):
        inserted = rng.random(500) < 0.5
        honest = rng.random(500) < np.exp(epsilon) / (1 + np.exp(epsilon))
        scores = np.where(honest, inserted, ~inserted) + 1e-6 * rng.random(500)
        bound = judge(scores, inserted, 0.0, share=0.4)
        found.append(bound.epsilon)
        above += bound.epsilon > epsilon
    assert above <= 18  # 5 % of 200, and what chance adds
    assert np.mean(found) > 0.6
