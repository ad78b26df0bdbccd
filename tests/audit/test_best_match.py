import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pd.audit.attackers.base import Embedded
from pd.audit.averaged_match import averaged
from pd.audit.best_match import best_match, closest
from pd.audit.figures import measured
from pd.reid.spaces.whitening import unit


def rows(rng, n, d=12):
    return unit(rng.normal(size=(n, d)))


def embedded(rng, n):
    return Embedded(rows(rng, n), rows(rng, n))


def test_the_score_is_the_likest_sample_beyond_the_mean_and_the_auc_that_of_a_second_implementation():
    rng = np.random.default_rng(0)
    samples, members, strangers = rows(rng, 1500), embedded(rng, 60), embedded(rng, 40)
    likeness = [np.maximum(one.rows @ samples.T, one.mirrored @ samples.T) for one in (members, strangers)]
    brute = [one.max(1) - one.mean(1) for one in likeness]
    np.testing.assert_allclose(closest(samples, members), brute[0], atol=1e-6)
    names = [f"m{i // 3}" for i in range(60)], [f"s{i // 2}" for i in range(40)]
    found = best_match(samples, members, strangers, *names, bootstrap=200, seed=1)
    assert found.auc.value == pytest.approx(roc_auc_score([1] * 60 + [0] * 40, np.concatenate(brute)))
    assert found.auc.low < 0.5 < found.auc.high
    assert measured(found.tpr_at_1) is None  # 40 pictures resolve no 1 %


def test_copies_tell_members_apart():
    rng = np.random.default_rng(1)
    members, strangers = embedded(rng, 50), embedded(rng, 200)
    samples = np.concatenate([members.rows, rows(rng, 100)])
    names = [f"m{i // 2}" for i in range(50)], [f"s{i // 4}" for i in range(200)]
    found = best_match(samples, members, strangers, *names, bootstrap=200, seed=1)
    assert found.auc.value == found.tpr_at_1.value == 1


def test_means_see_what_single_samples_hide():
    """Sixteen noisy pictures of each member: each is like nobody much, their mean is the member."""
    rng = np.random.default_rng(2)
    d = 64
    members, strangers = (Embedded(one, one) for one in (rows(rng, 30, d), rows(rng, 120, d)))
    samples = unit(np.repeat(members.rows, 16, 0) + 0.22 * rng.normal(size=(480, d)))
    names = [str(i) for i in range(30)], [str(i) for i in range(120)]
    alone, means = (
        best_match(some, members, strangers, *names, bootstrap=100, seed=1) for some in (samples, averaged(samples))
    )
    assert means.auc.value >= alone.auc.value
    assert np.median(closest(averaged(samples), members)) > np.median(closest(samples, members)) + 0.1


def test_means_are_of_the_nearest_and_of_itself():
    samples = unit(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32))
    found = averaged(samples)
    assert found.shape == (8, 2)  # of two and of four
    np.testing.assert_allclose(found[0], unit((samples[:2].mean(0))[None])[0], atol=1e-6)
    np.testing.assert_allclose(found[2], unit((samples[2:].mean(0))[None])[0], atol=1e-6)
    np.testing.assert_allclose(found[4:], np.repeat(unit(samples.mean(0)[None]), 4, 0), atol=1e-6)
    np.testing.assert_array_equal(averaged(samples[:1]), samples[:1])
