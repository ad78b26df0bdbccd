import numpy as np
import torch

from pd.reid.spaces.views import views

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 1), dtype=np.uint8)
NAMES = [f"p{i // 3}" for i in range(30)]


def test_originals_come_first_and_views_keep_their_people() -> None:
    pictures, people = views(IMAGES, NAMES, seed=0, steps=20)
    assert pictures.shape == (30 + 5 * 30, 3, 16, 16)
    assert (people.reshape(6, 30) == people[:30]).all()
    assert np.bincount(people[:30]).tolist() == [3] * 10
    assert not torch.equal(pictures[:30], pictures[30:60])


def test_few_steps_mean_few_pictures() -> None:
    pictures, people = views(IMAGES, NAMES, seed=0, steps=2)
    assert len(pictures) == len(people) == 8 + 2 * 8
    assert len(views(IMAGES, NAMES, seed=0, steps=10_000)[0]) == 30 + 8 * 30
