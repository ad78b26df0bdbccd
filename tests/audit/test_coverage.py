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
    assert found.recall.value > 0.8
    assert found.identities.value > 0.95
    assert found.identities.n == 40


def test_half_of_the_people_are_left_out() -> None:
    rng = np.random.default_rng(1)
    centres = np.repeat(np.array([[0.0, 0], [100.0, 0]]), 100, axis=0)
    found = measured(centres + rng.normal(size=(200, 2)), rng.normal(size=(200, 2)))
    assert found.precision.value > 0.9
    assert found.recall.value == pytest.approx(0.5, abs=0.06)
    assert found.identities.value == pytest.approx(0.5, abs=0.06)
    assert found.identities.low < 0.4 < 0.6 < found.identities.high  # forty people, twenty a side


def test_noise_is_on_nobodys_manifold() -> None:
    rng = np.random.default_rng(2)
    found = measured(rng.normal(size=(100, 4)), 50 + rng.normal(size=(100, 4)))
    assert found.precision.value == found.recall.value == found.identities.value == 0


def test_against_a_slow_reading_of_the_paper() -> None:
    rng = np.random.default_rng(3)
    real, samples = rng.normal(size=(40, 2)), 1 + rng.normal(size=(40, 2))

    def on(points: np.ndarray, manifold: np.ndarray) -> float:
        def inside(point: np.ndarray) -> bool:
            return any(
                np.linalg.norm(point - one) <= np.sort(np.linalg.norm(manifold - one, axis=1))[3]  # the first is itself
                for one in manifold
            )

        return float(np.mean([inside(point) for point in points]))

    found = measured(real, samples)
    assert (found.precision.value, found.recall.value) == pytest.approx((on(samples, real), on(real, samples)))


def test_more_samples_do_not_make_a_denser_manifold() -> None:
    rng = np.random.default_rng(4)
    real = rng.normal(size=(50, 8))
    few, many = (measured(real, rng.normal(size=(n, 8))) for n in (50, 1000))
    assert many.compared == few.compared == 50
    assert many.precision.n == 1000
    assert many.recall.value == pytest.approx(few.recall.value, abs=0.2)


def test_a_handful_makes_no_manifold() -> None:
    assert coverage(np.zeros((4, 2), np.float32), list("abcd"), np.zeros((9, 2), np.float32), seed=0) is None
