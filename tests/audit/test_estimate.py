import numpy as np
import pytest

from pd.audit.estimate import Estimate, from_draws, multiplicities, number


def test_the_interval_is_the_middle_95_percent_of_the_draws() -> None:
    draws = np.random.default_rng(0).permutation(np.linspace(0.0, 1.0, 1001))
    assert from_draws(0.5, draws, 7) == Estimate(0.5, pytest.approx(0.025), pytest.approx(0.975), 7)


def test_undefined_draws_do_not_count_and_the_interval_holds_the_value() -> None:
    draws = np.array([np.nan, 0.2, 0.3, np.nan])
    assert from_draws(0.9, draws, 3) == Estimate(0.9, pytest.approx(0.2025), 0.9, 3)
    with pytest.raises(ValueError, match="no resample"):
        from_draws(0.9, np.array([np.nan]), 3)


def test_a_normal_mean_is_covered_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        sample = rng.normal(size=60)
        weights = multiplicities(60, 300, rng)
        estimate = from_draws(float(sample.mean()), weights @ sample / 60, 60)
        covered += estimate.low <= 0 <= estimate.high
    assert 180 <= covered <= 199


def test_identities_are_numbered_and_drawn_as_often_as_there_are() -> None:
    assert number(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]
    drawn = multiplicities(5, 40, np.random.default_rng(2))
    assert drawn.shape == (40, 5)
    assert (drawn.sum(axis=1) == 5).all()
    assert drawn.std() > 0.5
