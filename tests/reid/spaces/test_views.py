import numpy as np
import pytest
import torch

from pd.reid.spaces.views import views

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 1), dtype=np.uint8)
NAMES = [f"p{i // 3}" for i in range(30)]


def test_originals_come_first_and_views_keep_their_people() -> None:
    found = views(IMAGES, NAMES, seed=0, steps=20)
    pictures, people = torch.cat(list(found.batches(64))), found.people
    assert pictures.shape == (30 + 5 * 30, 3, 16, 16)
    assert (people.reshape(6, 30) == people[:30]).all()
    assert np.bincount(people[:30]).tolist() == [3] * 10
    assert not torch.equal(pictures[:30], pictures[30:60])


def test_few_steps_mean_few_pictures() -> None:
    assert len(views(IMAGES, NAMES, seed=0, steps=2)) == 8 + 2 * 8
    assert len(views(IMAGES, NAMES, seed=0, steps=10_000)) == 30 + 8 * 30


def test_batches_are_full_but_the_last_whatever_is_augmented_at_a_time() -> None:
    found = views(IMAGES, NAMES, seed=0, steps=20)
    assert [len(batch) for batch in found.batches(64)] == [64, 64, 52]
    assert [len(batch) for batch in found.batches(256)] == [180]
    assert torch.equal(torch.cat(list(found.batches(7))), torch.cat(list(found.batches(64))))


def test_large_pictures_are_reduced_before_they_are_augmented_where_it_is_asked() -> None:
    large = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
    (pictures,) = views(large, NAMES[:2], seed=0, steps=1, longest=16).batches(64)
    means = large.reshape(2, 16, 2, 16, 2).mean(axis=(2, 4))[:, None] / 127.5 - 1
    assert sorted(pictures[:2, 0, 0, 0].tolist()) == pytest.approx(sorted(means[:, 0, 0, 0].tolist()), abs=1e-5)
    assert pictures.shape[2:] == (16, 16)
    assert next(views(large, NAMES[:2], seed=0, steps=1).batches(64)).shape[2:] == (32, 32)
