import numpy as np
import pytest

from pd.audit.coverage import Coverage, coverage


def measured(real: np.ndarray, samples: np.ndarray, each: int = 5) -> Coverage:
    found = coverage(real.astype(np.float32), [str(i // each) for i in range(len(real))], samples.astype(np.float32), seed=0)
    assert found is not None
    return found


def test_one_distribution_covers_itself() -> None:
    rng = np.random.default_rng(0)
    found = measured(rng.normal(size=(200, 3)), rng.normal(size=(200, 3)))
    assert found.precision.value > 0.8
    assert found.images.value > 0.8
    assert found.identities.value > 0.95
    assert found.identities.n == 40


def test_half_of_the_people_are_left_out() -> None:
    rng = np.random.default_rng(1)
    centres = np.repeat(np.array([[0.0, 0], [100.0, 0]]), 100, axis=0)
    found = measured(centres + rng.normal(size=(200, 2)), rng.normal(size=(200, 2)))
    assert found.precision.value > 0.9
    assert found.images.value == pytest.approx(0.5, abs=0.06)
    assert found.identities.value == pytest.approx(0.5, abs=0.06)
    assert found.identities.low < 0.4 < 0.6 < found.identities.high  # forty people, twenty a side


def test_noise_is_on_nobodys_manifold() -> None:
    rng = np.random.default_rng(2)
    found = measured(rng.normal(size=(100, 4)), 50 + rng.normal(size=(100, 4)))
    assert found.precision.value == found.images.value == found.identities.value == 0


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.linalg.norm(one[:, None] - other[None], axis=2)


def reach(points: np.ndarray) -> np.ndarray:
    """The way of each to its third nearest other; the first is itself."""
    return np.sort(apart(points, points), axis=1)[:, 3]


def test_against_a_slow_reading_of_the_papers() -> None:
    rng = np.random.default_rng(3)
    real, samples = rng.normal(size=(40, 2)), 1 + rng.normal(size=(40, 2))
    near = apart(samples, real) <= reach(real)
    found = measured(real, samples)
    assert (found.precision.value, found.images.value) == pytest.approx((near.any(axis=1).mean(), near.any(axis=0).mean()))


def recall(real: np.ndarray, samples: np.ndarray) -> float:
    """By the samples' own radius: what was in use before."""
    return float((apart(samples, real) <= reach(samples)[:, None]).any(axis=0).mean())


def people_of(rng: np.random.Generator, centres: np.ndarray) -> np.ndarray:
    return np.repeat(centres, 400 // len(centres), axis=0) + 0.5 * rng.normal(size=(400, centres.shape[1]))


def test_coverage_falls_with_variety_where_recall_rises_with_the_noise_that_takes_its_place() -> None:
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(40, 8))
    real = people_of(rng, centres)
    sets = [
        kept * people_of(rng, centres) + 2 * (1 - kept) * rng.normal(size=(400, 8)) for kept in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
    ]
    covered = [measured(real, samples, 10).images.value for samples in sets]
    assert covered == sorted(covered, reverse=True)
    assert covered[0] > 0.8
    assert covered[-1] < 0.2
    assert recall(real, sets[-1]) > recall(real, sets[0])  # nobody is left, and nearly all of the real are "reached"


def test_coverage_falls_with_the_people_where_a_few_far_samples_let_recall_rise() -> None:
    rng = np.random.default_rng(6)
    centres = rng.normal(size=(40, 8))
    real = people_of(rng, centres)
    covered, reached = [], []
    for people in (40, 20, 10, 5, 2):
        samples = people_of(rng, centres[:people])
        samples[::40] = 12 * rng.normal(size=(10, 8))
        found = measured(real, samples, 10)
        covered.append((found.images.value, found.identities.value))
        reached.append(recall(real, samples))
    assert covered == sorted(covered, reverse=True)
    assert covered[-1][0] < covered[0][0] / 3
    assert reached[-1] > reached[-2]


def test_more_samples_do_not_make_a_denser_manifold() -> None:
    rng = np.random.default_rng(4)
    real = rng.normal(size=(50, 8))
    few, many = (measured(real, rng.normal(size=(n, 8))) for n in (50, 1000))
    assert many.compared == few.compared == 50
    assert many.precision.n == 1000
    assert many.images.value == pytest.approx(few.images.value, abs=0.2)


def test_a_handful_makes_no_manifold() -> None:
    assert coverage(np.zeros((4, 2), np.float32), list("abcd"), np.zeros((9, 2), np.float32), seed=0) is None
