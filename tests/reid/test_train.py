import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from refusals import refused_as
from torch import nn

from pd.config import ReidSettings
from pd.dataset.images import from_tensor, to_tensor
from pd.reid.augment import augment
from pd.reid.calibrate import verification
from pd.reid.embed import embed
from pd.reid.methods.supcon import supervised_contrastive
from pd.reid.network import build
from pd.reid.train import fit, train

People = tuple[NDArray[np.uint8], list[str]]
QUICK = ReidSettings(steps=40, identities_per_batch=8, dim=32)


def test_it_learns_to_tell_unseen_people_apart_and_to_catch_copies(people: People) -> None:
    images, names = people
    done: list[tuple[int, int]] = []
    losses: list[float] = []

    def progress(step: int, steps: int, figures: Mapping[str, object]) -> None:
        done.append((step, steps))
        losses.append(float(str(figures["loss"])))

    seen, unseen = slice(0, 40), slice(40, 60)
    network = train(images[seen], names[seen], QUICK, seed=1, progress=progress)
    assert done == [(i + 1, 40) for i in range(40)]
    assert losses[-1] < losses[0]
    assert not network.training

    found = verification(embed(network, images[unseen]), names[unseen])
    assert found.auc is not None
    assert found.auc > 0.9

    gallery = embed(network, images[seen])
    views = augment(to_tensor(images[seen]), torch.Generator().manual_seed(9))
    copies = embed(network, from_tensor(views, "grey"))
    own = np.repeat(np.arange(8), 5)
    # The nearest member image of a heavily jittered copy shows the same person far more often than the 1/8 of chance.
    assert (own[(copies @ gallery.T).argmax(1)] == own).mean() > 0.6


def test_same_seed_same_weights_other_seed_others(people: People) -> None:
    images, names = people
    quick = QUICK.model_copy(update={"steps": 3})
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(states))  # the global generator must not matter
        states.append(train(images, names, quick, seed=seed).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))
    assert not torch.equal(states[0]["project.weight"], states[2]["project.weight"])


@pytest.mark.parametrize("each", [1, 2])
def test_two_people_with_one_or_two_images_are_enough(people: People, each: int) -> None:
    images, names = people
    rows = [0, 5] if each == 1 else [0, 1, 5, 6]
    network = train(images[rows], [names[r] for r in rows], QUICK, seed=0)
    vectors = embed(network, images[rows])
    views = augment(to_tensor(np.repeat(images[rows], 20, axis=0)), torch.Generator().manual_seed(1))
    found = (embed(network, from_tensor(views, "grey")) @ vectors.T).argmax(1) // each
    assert (found == np.repeat(np.arange(2 * each), 20) // each).mean() > 0.75


def test_colour_images_and_odd_numbers_of_views(people: People) -> None:
    images, names = people
    colour = np.repeat(images, 3, axis=3)
    settings = ReidSettings(steps=2, images_per_identity=3, dim=8)
    assert embed(train(colour, names, settings, seed=0), colour[:4]).shape == (4, 8)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_people_are_refused(people: People, count: int) -> None:
    images, names = people
    with refused_as("too-few-people", count):
        train(images[: 5 * count], names[: 5 * count], QUICK, seed=0)


def test_fit_trains_any_network_and_leaves_frozen_weights_alone(people: People) -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.frozen, self.free = nn.Linear(3 * 256, 32), nn.Linear(32, 16)
            self.frozen.requires_grad_(False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.normalize(self.free(self.frozen(images.flatten(1))), dim=1)

    images, names = people
    network = Linear()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fit(network, images, names, steps=5, seed=0)
    after = network.state_dict()
    assert torch.equal(before["frozen.weight"], after["frozen.weight"])
    assert not torch.equal(before["free.weight"], after["free.weight"])


def test_a_frozen_backbone_keeps_its_norms_statistics(people: People) -> None:
    images, names = people
    settings = QUICK.model_copy(update={"steps": 2, "freeze": True})
    before = build(settings, 0).state_dict()
    after = train(images, names, settings, seed=0).state_dict()
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert changed == ["project.weight"]


def test_supervised_contrastive_of_a_known_case() -> None:
    # Two people on two axes: each row's positive has cosine 1, the two others 0, at temperature 1.
    rows = torch.eye(2).repeat_interleave(2, 0)
    loss = supervised_contrastive(rows, torch.tensor([0, 0, 1, 1]), temperature=1.0)
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 2)), rel=1e-5)
    # A row that is alone of its person is a negative only.
    alone = supervised_contrastive(rows[:3], torch.tensor([0, 0, 1]), temperature=1.0)
    assert alone.item() == pytest.approx(-math.log(math.e / (math.e + 1)), rel=1e-5)
