"""Altered copies are told from other people's pictures, whatever was done to them."""

import numpy as np
import pytest

from pd.audit.able import says_nothing
from pd.audit.attack import Attack
from pd.audit.attackers.thumbnails import Thumbnails
from pd.audit.copies import copies_attack, repeated
from pd.audit.disguises import WAYS, disguised
from pd.dataset.private import PrivateDataset
from pd.reid.altered_copies import AlteredCopies

_HARD = {
    "blurred to an eighth",
    "tiled 3 x 3",
    "quarters exchanged",
    "morphed with a stranger",
    "sketched",
    "mirrored turned zoomed shifted and negative",
}
"""Kinds that the detector is known to miss: the verdict names them."""


@pytest.fixture(scope="module")
def copies(orl: PrivateDataset) -> AlteredCopies:
    return AlteredCopies.of(orl.members().images)


def test_copies_in_any_disguise_lie_above_strangers(orl: PrivateDataset, copies: AlteredCopies) -> None:
    members, strangers = orl.members(), orl.holdout()
    bar = np.quantile(copies.likeness(strangers.images).max(axis=1), 0.95)
    made = disguised(members.images[::10], strangers.images, 3)
    caught = {kind: float(np.mean(copies.likeness(images).max(axis=1) > bar)) for kind, images in made.items()}
    missed = {kind: share for kind, share in caught.items() if share < 0.9}
    assert set(missed) <= _HARD, missed


def test_a_copy_is_most_like_its_own_picture(orl: PrivateDataset, copies: AlteredCopies) -> None:
    images = orl.members().images
    likeness = copies.likeness(255 - images[5:15, :, ::-1])
    assert np.array_equal(likeness.argmax(axis=1), np.arange(5, 15))
    assert likeness.max(axis=1) == pytest.approx(1.0, abs=0.02)


def test_neither_batch_nor_gallery_order_counts(orl: PrivateDataset, copies: AlteredCopies) -> None:
    images = orl.holdout().images[:7]
    whole = copies.likeness(images)
    alone = np.concatenate([copies.likeness(images[row : row + 1]) for row in range(7)])
    np.testing.assert_allclose(whole, alone, atol=1e-4)


def test_flat_pictures_are_copies_of_nobody(orl: PrivateDataset, copies: AlteredCopies) -> None:
    flat = np.full((2, *orl.images.shape[1:]), 128, np.uint8)
    assert (copies.likeness(flat) < 0.2).all()


def test_every_disguise_is_a_function_of_seed(orl: PrivateDataset) -> None:
    images, others = orl.members().images[:3], orl.holdout().images
    one, two = disguised(images, others, 1), disguised(images, others, 1)
    assert list(one) == list(WAYS)
    for kind in WAYS:
        assert one[kind].shape == images.shape
        assert one[kind].dtype == np.uint8
        assert np.array_equal(one[kind], two[kind]), kind


@pytest.mark.parametrize("shifted", [False, True], ids=["six pictures five times", "one picture thirty times, shifted"])
def test_what_is_made_again_is_found_though_no_clique_is_large_or_exact(orl: PrivateDataset, shifted: bool) -> None:
    members, strangers = orl.members(), orl.holdout_half("audit", 7)
    others = orl.holdout_half("calibration", 7).images
    chance = np.random.default_rng(0)
    if shifted:
        copies_made = np.stack([np.roll(members.images[3], chance.integers(-2, 3, 2), (0, 1)) for _ in range(30)])
    else:
        noisy = np.repeat(members.images[::33][:6], 5, axis=0) + chance.normal(0, 4, (30, *members.images.shape[1:]))
        copies_made = noisy.clip(0, 255).astype(np.uint8)
    attack = copies_attack(members, strangers, bootstrap=100, seed=1)
    found = repeated(attack(np.concatenate([copies_made, others])), bootstrap=100, seed=1)
    assert found.hits[:30].mean() >= 0.8
    assert found.hits[30:].mean() <= 0.15  # ten strangers set the threshold
    assert repeated(attack(others), bootstrap=100, seed=1).excess.low <= 0


def test_samples_unlike_anything_are_told(orl: PrivateDataset) -> None:
    """Sketches of members pass for nobody; that says nothing of what they give away."""
    members, strangers = orl.members(), orl.holdout_half("audit", 7)
    attack = Attack.by(Thumbnails(), members, strangers, alpha=0.05, bootstrap=100, seed=1)
    others = orl.holdout_half("calibration", 7).images
    sketches = disguised(members.images, others, 1)["sketched"]
    assert says_nothing({"thumbnails": attack(sketches).found}, 0.05)
    assert says_nothing({"thumbnails": attack(255 - members.images).found}, 0.05)
    assert not says_nothing({"thumbnails": attack(others).found}, 0.05)


def test_copies_and_other_pictures_are_told_apart(orl: PrivateDataset) -> None:
    attack = Attack.by(Thumbnails(), orl.members(), orl.holdout_half("audit", 7), alpha=0.05, bootstrap=100, seed=1)
    seen = attack.recognises
    assert all(0.3 < one.share.low <= one.share.value for one in seen.values())  # of faces, heavily altered copies no more
    assert seen["other_pictures"].share.n == 100  # half of each member's ten pictures
