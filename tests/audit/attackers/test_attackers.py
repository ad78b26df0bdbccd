"""Every attacker finds copies of members, clean or blurred or mirrored, and none finds people who are not there."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from refusals import refused_as

from pd.audit.attack import Attack
from pd.audit.attackers import base
from pd.audit.attackers.base import Embedded, similarity
from pd.audit.attackers.choose import ATTACKERS, attacker, choose_attackers
from pd.dataset.images import Pixels, from_tensor, to_tensor
from pd.dataset.mapping import RowFunction, map_here
from pd.dataset.private import PrivateDataset
from pd.progress import Progress, silent
from pd.reid.augment import blur

SEED = 7
TRAINED = ("crrcd", "aird", "g2d")  # networks of their own: a few steps here, which do not make them see through blur


def blurred(images: Pixels, pixels: float) -> Pixels:
    return from_tensor(blur(to_tensor(images), sigma=torch.full((len(images),), pixels)), "grey")


@pytest.fixture(scope="module", params=sorted(ATTACKERS))
def attack(request: pytest.FixtureRequest, orl: PrivateDataset) -> Attack:
    learning = orl.holdout_half("calibration", SEED)
    attacking = attacker(request.param)
    attacking.fit(learning.images, learning.identities, seed=1, steps=6 if request.param in TRAINED else 40)
    return Attack.by(attacking, orl.members(), orl.holdout_half("audit", SEED), alpha=0.05, bootstrap=200, seed=2)


def test_copies_are_found(attack: Attack, orl: PrivateDataset) -> None:
    members = orl.members()
    first = attack(members.images[::2]).found
    assert first.main.value == 1.0
    assert first.excess.value > 0.6
    assert first.people_hit == 20
    mirrored = attack(np.ascontiguousarray(members.images[::2, :, ::-1])).found
    assert mirrored.main.value == 1.0
    assert mirrored.excess.value > 0.6


def test_blurred_copies_are_found_by_what_need_not_be_trained_for_long(
    request: pytest.FixtureRequest, attack: Attack, orl: PrivateDataset
) -> None:
    if request.node.callspec.params["attack"] in TRAINED:
        pytest.skip("benchmarks/recognisers.py shows what they see")
    soft = attack(blurred(orl.members().images[::2], 1.5)).found
    assert soft.excess.value > 0.5
    assert soft.excess.low > 0.2


def test_strangers_are_not(attack: Attack, orl: PrivateDataset) -> None:
    others = attack(orl.holdout_half("calibration", SEED).images).found
    assert others.excess.low <= 0 <= others.excess.high or others.excess.high < 0
    themselves = attack(orl.holdout_half("audit", SEED).images).found
    assert themselves.main.value == pytest.approx(0.05)
    assert themselves.excess.high < 0


@pytest.mark.parametrize("name", sorted(ATTACKERS))
def test_embeddings_are_unit_rows_from_the_seed(name: str, orl: PrivateDataset) -> None:
    learning = orl.holdout_half("calibration", SEED)
    rows = []
    for seed in (1, 1, 2):
        attacking = attacker(name)
        attacking.fit(learning.images[:12], learning.identities[:12], seed=seed, steps=1 if name in TRAINED else 3)
        rows.append(attacking.embed(orl.images[:20]))
    assert rows[0].dtype == np.float32
    assert np.linalg.norm(rows[0], axis=1) == pytest.approx(1.0, abs=1e-4)
    assert (rows[0] == rows[1]).all()
    assert name == "thumbnails" or (rows[0] != rows[2]).any()


def test_colour_counts() -> None:
    rng = np.random.default_rng(0)
    red = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    attacking = attacker("thumbnails")
    swapped = np.ascontiguousarray(red[..., ::-1])
    likeness = similarity(attacking.embed(red), Embedded.of(attacking, swapped))
    assert likeness.diagonal().max() < 0.9
    assert similarity(attacking.embed(red), Embedded.of(attacking, red)).diagonal() == pytest.approx(1.0, abs=1e-5)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with refused_as("unknown-name", "'thumbnails'"):
        attacker("thumbnail")


def test_a_large_gallery_is_embedded_by_whoever_maps_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "HERE_BYTES", 0)
    images = np.random.default_rng(0).integers(0, 256, (300, 16, 16, 1), dtype=np.uint8)
    seeing, asked = attacker("thumbnails"), list[str]()

    def map_rows(function: RowFunction, name: str, progress: Progress = silent) -> pa.Table:
        asked.append(name)
        return map_here(function)

    here, there = Embedded.of(seeing, images), Embedded.of(seeing, images, map_rows)
    np.testing.assert_allclose(there.rows, here.rows, atol=1e-6)
    np.testing.assert_allclose(there.mirrored, here.mirrored, atol=1e-6)
    assert len(asked) == 1


def test_an_attacker_of_somebodys_own_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        name = "own"

        def fit(self, images: np.ndarray, identities: list[str], *, seed: int, steps: int) -> None: ...

        def embed(self, images: np.ndarray) -> np.ndarray:
            return np.ones((len(images), 1), np.float32)

    monkeypatch.setattr(base, "HERE_BYTES", 0)
    (own,) = choose_attackers([Own()]).values()
    own.fit(np.zeros((3, 16, 16, 1), np.uint8), ["a"] * 3, seed=0, steps=1)
    found = Embedded.of(own, np.zeros((3, 16, 16, 1), np.uint8), lambda *_: pytest.fail("it may hold what cannot travel"))
    assert found.rows.shape == (3, 1)
