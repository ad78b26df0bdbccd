"""Classifiers: what they learn, targets that are probabilities or unknown, ranks and seeds."""

import numpy as np
import pytest
import torch
from refusals import refused_as

from pd.classify.inputs import Held, batch_rows, share_of, tensor
from pd.classify.networks import ConvNet, build
from pd.classify.task import ClassifierTask, load_classifier, predict
from pd.config.training import TrainingSettings
from pd.training.loop import fit_here

SETTINGS = TrainingSettings(steps=80, learning_rate=3e-3)


def blobs(rows, seed=0):
    chance = np.random.default_rng(seed)
    who = chance.integers(0, 3, rows)
    return Held((chance.normal(size=(rows, 8)) + 3 * np.eye(3, 8)[who]).astype(np.float32)), np.eye(3, dtype=np.float32)[who]


def test_it_learns_and_is_read_back(tmp_path):
    inputs, targets = blobs(400)
    out = fit_here(ClassifierTask(inputs, targets, seed=1, batch=64), SETTINGS, tmp_path)
    module = load_classifier(out)
    fresh, truth = blobs(300, seed=5)
    found = predict(module, fresh)
    assert (found.argmax(1) == truth.argmax(1)).mean() > 0.95
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_unknown_labels_do_not_count():
    inputs, targets = blobs(16)
    unknown = targets.copy()
    unknown[:8, 0] = np.nan
    task = ClassifierTask(inputs, unknown, seed=1, batch=16, multi_label=True)
    module, batch = task.build(), task.batch(0, 0, 1)
    loss = task.loss(module, batch, 0, None)["loss"]
    probability = module(batch["inputs"]).sigmoid()
    known = torch.isfinite(batch["targets"])
    by_hand = torch.where(batch["targets"] > 0.5, -probability.log(), -(1 - probability).log())[known].mean()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_global_batch(world):
    whole = batch_rows(3, 7, 100, 20)
    np.testing.assert_array_equal(np.concatenate([share_of(whole, rank, world) for rank in range(world)]), whole)


def test_an_epoch_has_every_row_once():
    rows = np.concatenate([batch_rows(3, step, 100, 20) for step in range(5)])
    assert sorted(rows) == list(range(100))


def test_weights_follow_from_the_seed_and_outputs_from_the_image_alone():
    images = Held(np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8))
    first, again, other = build((3, 16, 16), 4, 1, 16), build((3, 16, 16), 4, 1, 16), build((3, 16, 16), 4, 2, 16)
    rows = tensor(images, np.arange(6))
    torch.testing.assert_close(first(rows), again(rows))
    assert not torch.equal(first(rows), other(rows))
    torch.testing.assert_close(first(rows)[:1], first(rows[:1]), atol=1e-5, rtol=1e-5)


def test_images_too_small_to_halve_are_refused():
    with refused_as("bad-size", "network"):
        ConvNet(10, 1, 4)


@pytest.mark.parametrize("width", [1, 7, 8, 50, 64, 100])
def test_any_width_can_be_built_and_multiples_of_eight_have_groups_of_eight(width):
    module = build((1, 16, 16), 2, 0, width)
    groups = [layer.num_groups for layer in module.layers if isinstance(layer, torch.nn.GroupNorm)]
    assert groups
    assert all(width % count == 0 for count in groups)
    assert width % 8 or set(groups) == {width // 8}


@pytest.mark.parametrize(("side", "largest"), [(16, 5), (2048, 1)])
def test_of_large_images_fewer_are_looked_at_at_a_time(side, largest):
    seen = []

    class Watching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, images):
            seen.append(len(images))
            return images.mean((1, 2, 3))[:, None] * self.weight

    found = predict(Watching(), Held(np.zeros((5, side, side, 1), np.uint8)))
    assert found.shape == (5, 1)
    assert max(seen) == largest
    assert sum(seen) == 5
