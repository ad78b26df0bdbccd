"""Noise has its deviation, sums move by what is claimed, votes cost what the papers say."""

import numpy as np
import pytest
from refusals import refused_as

from pd.dp.budget import check_delta, gaussian_mu, noise_for, prospects
from pd.dp.events import gaussian, poisson_sampled, times
from pd.dp.gaussian_sum import GaussianSum, clipped
from pd.dp.ledger import Ledger
from pd.dp.noise import NoiseSource
from pd.dp.votes import ConfidentGNMax, GNMax


def test_noise_is_normal_and_follows_from_key_and_names() -> None:
    from scipy.stats import kstest

    source = NoiseSource.of_seed(7)
    drawn = source.normal((200_000,), "step", 3)
    assert kstest(drawn, "norm").pvalue > 1e-3
    assert np.array_equal(drawn, NoiseSource.of_seed(7).normal((200_000,), "step", 3))
    other = source.normal((200_000,), "step", 4)
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.01
    assert not np.array_equal(drawn, NoiseSource.of_seed(8).normal((200_000,), "step", 3))


def test_fresh_keys_differ_and_are_not_shown() -> None:
    one, two = NoiseSource.fresh(), NoiseSource.fresh()
    assert one.secret
    assert one.key != two.key
    assert one.key.hex() not in repr(one)
    assert not NoiseSource.of_seed(1).secret


def test_poisson_sample_draws_each_person_on_their_own() -> None:
    source = NoiseSource.of_seed(1)
    counts = np.zeros(1000)
    sizes = []
    for step in range(2000):
        drawn = source.poisson_sample(1000, 0.02, "sample", step)
        counts[drawn] += 1
        sizes.append(len(drawn))
    assert np.mean(sizes) == pytest.approx(20, abs=0.4)
    assert np.var(sizes) == pytest.approx(1000 * 0.02 * 0.98, rel=0.15)  # sampling without replacement would have none
    assert np.var(counts) == pytest.approx(2000 * 0.02 * 0.98, rel=0.2)


def test_noise_has_the_deviation_that_the_event_claims() -> None:
    mechanism = GaussianSum(clip=3.0, noise_multiplier=2.0)
    rows = np.zeros((5, 100_000))
    released = mechanism.release(rows, NoiseSource.of_seed(2), "x")
    assert released.std() == pytest.approx(6.0, rel=0.01)
    assert mechanism.event == gaussian(2.0)


@pytest.mark.parametrize("bad", [np.full(6, 1e200), np.full(6, np.inf), np.full(6, np.nan), np.full(6, 3.0), np.zeros(6)])
def test_one_person_moves_a_sum_by_at_most_the_clip(bad: np.ndarray) -> None:
    rows = np.vstack([np.random.default_rng(0).standard_normal((20, 6)), bad])
    with np.errstate(over="ignore", invalid="ignore"):
        moved = clipped(rows, 1.5).sum(axis=0) - clipped(rows[:-1], 1.5).sum(axis=0)
    assert np.linalg.norm(moved) <= 1.5 + 1e-9


def test_clipping_leaves_short_rows_as_they_are() -> None:
    rows = np.array([[0.3, 0.4], [3.0, 4.0]])
    assert np.allclose(clipped(rows, 1.0), [[0.3, 0.4], [0.6, 0.8]])
    assert (np.linalg.norm(clipped(rows, 1.0), axis=1) <= 1.0).all()


def test_noise_for_a_budget_is_enough_and_hardly_more() -> None:
    def ledger(noise: float) -> Ledger:
        return Ledger().spend("sgd", times(100, poisson_sampled(0.01, gaussian(noise))))

    noise = noise_for(1.0, 1e-5, ledger)
    assert ledger(noise).epsilon(1e-5).value <= 1.0
    assert ledger(noise * 0.99).epsilon(1e-5).value > 1.0


def test_what_cannot_be_reached_is_said_with_the_nearest() -> None:
    def ledger(noise: float) -> Ledger:
        return Ledger().spend("means", gaussian(1.0)).spend("sgd", gaussian(noise))

    with refused_as("over-budget", "formal.epsilon"):
        noise_for(1.0, 1e-5, ledger)


def test_mu_of_a_budget_is_that_of_the_gaussian_mechanism() -> None:
    mu = gaussian_mu(1.0, 1e-5)
    assert Ledger().spend("sum", gaussian(1 / mu)).epsilon(1e-5).value == pytest.approx(1.0, rel=5e-3)


def test_twenty_people_are_too_few() -> None:
    assert prospects(10, 1e-3, 20, 250_000, 10, 784).word == "out of reach"
    many = prospects(10, 1e-5, 60_000, 250_000, 1000, 784)
    assert many.word == "useful"
    assert many.dp_sgd > many.ensemble > 0


def test_the_word_is_of_the_way_that_is_done() -> None:
    """(mu K / 2)^2 / 784 with mu = 1.997 at epsilon 10 and delta 1e-5, ten teachers: 0.13; by people it would be plenty."""
    few = prospects(10, 1e-5, 60_000, 250_000, 10, 784, "ensemble")
    assert few.signal == few.ensemble == pytest.approx((few.mu * 5) ** 2 / 784)
    assert (few.word, prospects(10, 1e-5, 60_000, 250_000, 10, 784).word) == ("out of reach", "useful")
    assert prospects(10, 1e-5, 60_000, 250_000, 10_000, 784, "ensemble").word == "useful"


def test_delta_must_be_below_one_over_people() -> None:
    check_delta(1e-5, 60_000)
    with refused_as("bad-value", "1", "20"):
        check_delta(0.05, 20)
    check_delta(0.05, 0)  # that there are no people is for others to say


def test_votes() -> None:
    counts = np.array([[90, 10], [10, 90], [51, 49]])
    source = NoiseSource.of_seed(0)
    assert GNMax(5.0).answer(counts, source, "a")[:2].tolist() == [0, 1]
    # a vote that changes moves two counts: sensitivity sqrt(2)
    assert GNMax(5.0).event(7) == times(7, gaussian(5.0 / np.sqrt(2)))
    confident = ConfidentGNMax(threshold=75, check_sigma=3.0, sigma=5.0, most=1)
    assert confident.answer(counts, source, "b").tolist() == [0, -1, -1]
    assert confident.events(3) == (times(3, gaussian(3.0)), times(1, gaussian(5.0 / np.sqrt(2))))


def test_a_clear_vote_is_right_as_often_as_the_normal_law_says() -> None:
    from scipy.stats import norm

    counts = np.tile([60, 40], (20_000, 1))
    share = (GNMax(10.0).answer(counts, NoiseSource.of_seed(5), "c") == 0).mean()
    assert share == pytest.approx(norm.cdf(20 / (10 * np.sqrt(2))), abs=0.01)
