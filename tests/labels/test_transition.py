"""Transition matrices: exact from exact counts, nearer to the truth with more images, and honest where they cannot be told."""

import numpy as np
import pytest
import torch

from pd.labels.columns import _warnings
from pd.labels.combine import with_noisy
from pd.labels.reweight import importance
from pd.labels.transition import by_correlation, counted_joint, dual, solve


def world(images, noise, seed=0):
    """Three correlated labels and a lone one, with noise (a, b), and a posterior and losses that know the clean ones well."""
    chance = np.random.default_rng(seed)
    hidden = chance.normal(size=(images, 2))
    score = np.column_stack([hidden[:, 0], hidden[:, 0] + 0.7 * hidden[:, 1], hidden[:, 0] - 0.7 * hidden[:, 1]])
    clean = (score + 0.3 * chance.normal(size=score.shape) > 0).astype(float)
    clean = np.column_stack([clean, (chance.random(images) < 0.4).astype(float)])
    flip = np.where(clean > 0.5, chance.random(clean.shape) < noise[1], chance.random(clean.shape) < noise[0])
    noisy = np.where(flip, 1 - clean, clean)
    sure = np.clip(np.where(clean > 0.5, 0.9, 0.1) + 0.05 * chance.normal(size=clean.shape), 0.01, 0.99)
    posterior = sure * (1 - noise[1]) + (1 - sure) * noise[0]
    losses = -np.log(np.where(noisy > 0.5, sure, 1 - sure))
    return noisy, posterior, losses


@pytest.mark.parametrize(("absent", "present"), [(0.0, 0.2), (0.6, 0.0), (0.2, 0.2), (0.017, 0.2)])
def test_exact_counts_give_the_matrix_back(absent, present):
    chance = np.random.default_rng(1)
    for _ in range(20):
        share = chance.uniform(0.05, 0.95)
        matrix = np.array([[1 - absent, absent], [present, 1 - present]])
        given = chance.uniform(0.02, 0.98, 2)
        if abs(given[0] - given[1]) < 0.05:
            continue
        given_clean = np.column_stack([1 - given, given])
        joint = matrix.T @ np.diag([1 - share, share]) @ given_clean
        found, shares = solve(joint, given_clean)
        np.testing.assert_allclose(found, matrix, atol=1e-10)
        np.testing.assert_allclose(shares, [1 - share, share], atol=1e-10)


def test_the_error_falls_with_the_images():
    truth = np.array([[0.8, 0.2], [0.2, 0.8]])
    errors = [
        np.mean([np.abs(by_correlation(*world(images, (0.2, 0.2), seed)).matrices[:3] - truth).mean() for seed in range(4)])
        for images in (300, 20000)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.02


def test_a_label_that_no_other_tells_of_falls_back_and_says_so():
    noisy, posterior, losses = world(4000, (0.0, 0.2))
    found = by_correlation(noisy, posterior, losses)
    assert found.how == ("correlation", "correlation", "correlation", "dual")
    np.testing.assert_allclose(found.matrices[3], dual(noisy, posterior).matrices[3])


@pytest.mark.parametrize(("images", "how"), [(5000, "dual"), (600, "none")])
def test_a_rare_label_is_not_ruined(images, how):
    clean = (np.arange(images) % 50 == 0).astype(float)[:, None]
    missed = (np.arange(images) % 500 == 0)[:, None]
    noisy = np.where(missed, 0.0, clean)
    found = by_correlation(noisy, 0.9 * clean, -np.log(np.clip(np.where(noisy > 0.5, 0.9 * clean, 1 - 0.9 * clean), 1e-7, 1)))
    assert found.how == (how,)
    mended = with_noisy(clean, noisy, found.matrices) > 0.5
    assert (mended == clean).sum() >= (noisy == clean).sum()
    if how == "none":
        np.testing.assert_array_equal(found.matrices, np.eye(2)[None])
        np.testing.assert_array_equal(mended, noisy)
        assert "stay as given" in _warnings(found)[0]


def test_one_sided_noise_never_adds_a_label():
    found = by_correlation(*world(4000, (0.0, 0.3)), one_sided=True)
    np.testing.assert_array_equal(found.matrices[:, 0], np.tile([1.0, 0.0], (4, 1)))
    np.testing.assert_allclose(found.matrices[:3, 1, 0], 0.3, atol=0.05)


def test_unknown_labels_are_no_absent_ones():
    first, second = np.array([1.0, 0, np.nan, 1]), np.array([1.0, np.nan, 0, 0])
    np.testing.assert_allclose(counted_joint(first, second), [[0, 0], [0.5, 0.5]])


def test_importance_is_one_without_noise_and_by_hand_with_it():
    present, said = torch.tensor([[0.7], [0.2]]), torch.tensor([[1.0], [0.0]])
    torch.testing.assert_close(importance(present, said, torch.eye(2)[None]), torch.ones(2, 1))
    noisy = importance(present, said, torch.tensor([[[0.9, 0.1], [0.3, 0.7]]]))
    by_hand = torch.tensor([[0.7 / (0.3 * 0.1 + 0.7 * 0.7)], [0.8 / (0.8 * 0.9 + 0.2 * 0.3)]])
    torch.testing.assert_close(noisy, by_hand)
