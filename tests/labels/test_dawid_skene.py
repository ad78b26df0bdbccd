"""Dawid-Skene: equal to crowd-kit's, better than the majority, bounded in memory, honest about hopeless crowds."""

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene
from crowds import crowd

from pd.labels.dawid_skene import CHANCE, agrees_by_chance, dawid_skene
from pd.labels.majority import majority
from pd.labels.votes import Votes


@pytest.mark.parametrize(("seed", "each"), [(0, 2), (1, 4)])
def test_posteriors_are_those_of_crowd_kit(seed, each):
    votes, _, _ = crowd(images=120, seed=seed, each=each)
    ours = dawid_skene(votes)
    oracle = DawidSkene(n_iter=100, tol=1e-5).fit(
        pd.DataFrame({"task": votes.image, "worker": votes.annotator, "label": votes.label})
    )
    theirs = oracle.probas_.sort_index()[sorted(oracle.probas_.columns)].to_numpy()
    np.testing.assert_allclose(ours.probabilities, theirs, atol=1e-6)
    errors = oracle.errors_[sorted(oracle.errors_.columns)].sort_index()
    ours_said = np.moveaxis(ours.confusions, 1, 2).reshape(-1, 3)  # (annotator, said) by truth
    places = [annotator * 3 + label for annotator, label in errors.index]
    np.testing.assert_allclose(ours_said[places], errors.to_numpy(), atol=1e-6)


def test_it_is_better_than_the_majority_and_finds_the_worst():
    votes, truth, matrices = crowd(images=2000, seed=4)
    found = dawid_skene(votes)
    assert (found.labels == truth).mean() > (majority(votes).labels == truth).mean() + 0.02
    skill = np.einsum("acc->a", found.confusions) / 3
    assert skill.argmin() == 0
    np.testing.assert_allclose(skill, np.einsum("acc->a", matrices) / 3, atol=0.08)


def test_images_without_votes_get_the_prior():
    votes, _, _ = crowd(images=50)
    more = Votes(votes.image, votes.annotator, votes.label, [*votes.images, "lone"], votes.annotators, votes.classes)
    found = dawid_skene(more)
    np.testing.assert_allclose(found.probabilities[:50], dawid_skene(votes).probabilities, atol=1e-12)
    assert found.probabilities[50].max() < 0.6


def test_a_crowd_that_guesses_is_named_and_one_that_knows_is_not():
    guessing, _, _ = crowd(skills=np.full(9, 1 / 3))
    knowing, _, _ = crowd(skills=np.full(9, 0.6))
    assert CHANCE in dawid_skene(guessing).warnings
    assert CHANCE not in dawid_skene(knowing).warnings


@pytest.mark.parametrize(("images", "flagged"), [(3, False), (9, False), (10, True)])
def test_a_few_unanimous_images_are_not_called_worthless(images, flagged):
    image, annotator = np.repeat(np.arange(images), 2), np.tile([0, 1], images)
    label = np.zeros(2 * images, np.int64)
    label[1 if flagged else 0] = 1
    votes = Votes(image, annotator, label, [str(i) for i in range(images)], ["x", "y"], ["a", "b"])
    assert agrees_by_chance(votes) is flagged


@pytest.mark.filterwarnings("error")
def test_an_annotator_without_a_vote_changes_nothing_and_has_no_confusions():
    votes, _, _ = crowd(images=50)
    more = Votes(votes.image, votes.annotator, votes.label, votes.images, [*votes.annotators, "idle"], votes.classes)
    found = dawid_skene(more)
    np.testing.assert_array_equal(found.probabilities, dawid_skene(votes).probabilities)
    assert (found.confusions[-1] == 0).all()
