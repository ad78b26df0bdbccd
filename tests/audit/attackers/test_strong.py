"""The strong set is what finds most of leaks that are planted to look like the samples; the samples have no part in it."""

import numpy as np
import pytest
from refusals import refused_as

from pd.audit.attack import Attack
from pd.audit.attackers.choose import ATTACKERS, STRONG, choose_attackers, named
from pd.audit.attackers.distilled import Aird
from pd.audit.attackers.strong import Planted, blur_of, choose, planted_like
from pd.audit.run import audit
from pd.config import AuditSettings
from pd.dataset.people import People
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.reid.views import seen


class Passing:
    """An attack that finds given leaks."""

    def __init__(self, hits: list[int], count: int = 10) -> None:
        self.hits = np.isin(np.arange(count), hits)

    def passing(self, images):
        return self.hits


def test_the_set_is_filled_by_what_adds_most() -> None:
    attacks = {"weak": Passing([0]), "best": Passing([0, 1, 2, 3, 4]), "same": Passing([1, 2, 3, 4]), "other": Passing([6, 7])}
    found = choose(attacks, Planted(np.zeros((10, 1, 1, 1), np.uint8), 0.02))
    assert found.chosen == ["best", "other"]
    assert (found.together, found.blur, found.planted) == (0.7, 0.02, 10)
    assert found.found == {"weak": 0.1, "best": 0.5, "same": 0.4, "other": 0.2}


def test_leaks_are_planted_as_blurred_as_the_samples_are(orl: PrivateDataset) -> None:
    members = orl.members().images
    assert blur_of(members, members) == 0
    soft = seen(members, "blurred", 3)
    width = blur_of(soft, members)
    assert 0.03 < width < 0.12  # views blur by 0.04 to 0.1
    planted = planted_like(soft, members, 1)
    assert len(planted.images) == 4 * 120
    again = planted_like(np.ascontiguousarray(soft[::-1][:50]), members, 1)
    assert again.images.shape == planted.images.shape


def test_strong_stands_for_all_and_goes_with_others() -> None:
    assert named([STRONG]) == list(ATTACKERS)
    assert set(choose_attackers(["strong", "imagenet"])) == set(ATTACKERS)
    assert AuditSettings.model_validate({"attackers": "strong"}).attackers == ("strong",)


def test_an_audit_by_strong_says_what_it_chose(orl: PrivateDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: ATTACKERS[name] for name in ("thumbnails", "gradients", "whitened")}
    monkeypatch.setattr("pd.audit.attackers.choose.ATTACKERS", few)
    members = orl.members()
    samples = SyntheticDataset(members.ids[:40], members.images[:40], [""] * 40, {})
    how = AuditSettings(attackers=("strong",), samples=40, attacker_steps=5, bootstrap=20, utility_steps=2)
    steps: list[int] = []
    found = audit(orl, {"kept": samples}, None, how, 7, lambda done, total, info: steps.append(total - done))
    strong = found.real.strong
    assert strong is not None
    assert set(strong.found) == set(few)
    assert steps == list(range(len(steps)))[::-1]
    assert set(found.arms["kept"].reid.by_attacker) == {*strong.chosen, "altered copies"}


def test_attackers_that_distil_learn_from_public_people_and_need_two(orl: PrivateDataset) -> None:
    with refused_as("too-few-people", "1"):
        Aird().fit(orl.images[:3], ["a"] * 3, seed=1, steps=1)
    held = orl.holdout()
    public = People(held.images[:12], held.identities[:12], [""] * 12, [])
    attacker = Aird()
    attacker.fit(public.images, list(public.identities), seed=1, steps=1)
    moved = attacker.of_set(seen(orl.images[:40], "low contrast", 1))
    assert (moved.embed(orl.images[:4]) != attacker.embed(orl.images[:4])).any()


def test_an_attack_by_one_that_adapts_is_of_each_set_by_itself(orl: PrivateDataset) -> None:
    attacker = Aird()
    attacker.fit(orl.images[:12], orl.identities[:12], seed=1, steps=1)
    attack = Attack.by(attacker, orl.members(), orl.holdout_half("audit", 7), alpha=0.05, bootstrap=20, seed=2)
    alone = attack(orl.members().images[:20]).rows
    attack(seen(orl.members().images[:20], "noisy", 1))
    assert (attack(orl.members().images[:20]).rows == alone).all()
