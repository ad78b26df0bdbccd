import numpy as np
import pytest

from pd.reid.spaces.whitening import Whitening, unit


def test_what_varies_within_a_person_is_muted() -> None:
    rng = np.random.default_rng(0)

    def pictures(who: np.ndarray) -> np.ndarray:
        """12 numbers that tell people apart, and 4 larger ones that change from picture to picture."""
        return np.concatenate([who, 3 * rng.normal(size=(len(who), 4))], axis=1).astype(np.float32)

    people = np.repeat(np.arange(40), 6)
    whitening = Whitening.learn(pictures(rng.normal(size=(40, 12))[people]), people)
    strangers = rng.normal(size=(100, 12))
    first, second = pictures(strangers), pictures(strangers)

    def recognised(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a @ b.T).argmax(axis=1) == np.arange(100)).mean())

    whitened = recognised(whitening.apply(first), whitening.apply(second))
    assert whitened > recognised(unit(first), unit(second)) + 0.2
    assert np.linalg.norm(whitening.apply(first), axis=1) == pytest.approx(1.0, abs=1e-5)


def test_equal_rows_do_no_harm() -> None:
    whitening = Whitening.learn(np.ones((5, 3), np.float32), np.zeros(5, np.int64))
    assert np.isfinite(whitening.apply(np.ones((2, 3), np.float32))).all()


def test_axes_that_no_row_spans_are_left_out() -> None:
    """Which they would be is chance: another machine, or another number of threads, would give another space."""
    rng = np.random.default_rng(0)
    rows, people = rng.normal(size=(12, 40)).astype(np.float32), np.arange(12) // 3
    found = Whitening.learn(rows, people)
    turn = np.linalg.qr(rng.normal(size=(40, 40)))[0].astype(np.float32)  # the same rows in other axes
    turned = Whitening.learn(rows @ turn, people)
    others = rng.normal(size=(5, 40)).astype(np.float32)
    assert found.matrix.shape == (40, 11)
    one, other = found.apply(others), turned.apply(others @ turn)
    np.testing.assert_allclose(other @ other.T, one @ one.T, atol=1e-4)
    assert Whitening.learn(np.ones((3, 4), np.float32), np.arange(3)).matrix.shape == (4, 1)
