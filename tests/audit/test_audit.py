import json
from typing import Any

import numpy as np
import pytest
import torch
from refusals import refused_as

from pd.audit import reid_figures
from pd.audit.estimate import Estimate
from pd.audit.reidentification import Reidentification
from pd.audit.run import audit
from pd.config import AuditSettings
from pd.dataset.images import Pixels, from_tensor, to_tensor
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.reid.augment import blur

SEED = 7
SETTINGS = AuditSettings(attackers=("thumbnails", "whitened"), samples=60, attacker_steps=30, bootstrap=200)


def samples(data: PrivateDataset, images: Pixels | None = None, labels: bool = True) -> SyntheticDataset:
    pixels = data.images if images is None else images
    return SyntheticDataset(data.ids, pixels, [""] * len(data), dict(data.labels) if labels else {})


@pytest.fixture(scope="module")
def figures(orl: PrivateDataset) -> dict[str, Any]:
    every_third = orl.members().where(np.arange(len(orl.members())) % 3 == 0)
    soft = from_tensor(blur(to_tensor(every_third.images), sigma=torch.full((len(every_third),), 1.2)), "grey")
    arms = {
        "copies": samples(every_third, soft),
        "strangers": samples(orl.holdout_half("calibration", SEED), labels=False),
    }
    steps: list[int] = []
    found = audit(orl, arms, lambda images: images, SETTINGS, SEED, lambda done, total, info: steps.append(total - done))
    assert steps == list(range(len(steps)))[::-1]
    return found.as_json()


def test_copies_are_told_from_strangers(figures: dict[str, Any]) -> None:
    copies, strangers = (figures["arms"][arm]["reid"] for arm in ("copies", "strangers"))
    assert copies["excess"]["low"] > 0.2
    assert copies["excess"]["value"] > 0.6
    assert strangers["excess"]["low"] <= 0
    assert figures["arms"]["copies"]["n"] == figures["arms"]["copies"]["reid"]["main"]["n"] == 60


def test_the_headline_is_the_worst_attacker(figures: dict[str, Any]) -> None:
    for arm in figures["arms"].values():
        reid = arm["reid"]
        by = reid["by_attacker"]
        assert set(by) == {"thumbnails", "whitened", "altered copies"}
        assert reid["excess"]["value"] <= max(found["excess"]["value"] for found in by.values())
        highs = {name: found["excess"]["high"] for name, found in by.items()}
        assert reid["excess"]["high"] in (max(highs.values()), max(highs["thumbnails"], highs["whitened"]))
        assert reid["excess"]["low"] <= max(found["excess"]["low"] for found in by.values())
        assert reid["main"] == by[reid["attacker"]]["main"]


def found_by(value: float, draws: np.ndarray) -> Reidentification:
    rate, nobody = Estimate(0.1, 0.0, 0.2, 600), np.zeros(0, bool)
    excess = Estimate(value, float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975)), 600)
    return Reidentification(rate, rate, excess, rate, rate, 1, 60, nobody, nobody, draws)


def test_the_worst_of_several_attackers_is_corrected_for_being_the_worst() -> None:
    """Five attackers that find nothing: the largest of five estimates lies 1.16 deviations too high on average."""
    rng, spread = np.random.default_rng(0), 0.01
    largest, corrected, covered, below = [], [], [], []
    for _ in range(300):
        values = rng.normal(0, spread, 5)
        found = {str(k): found_by(value, value + rng.normal(0, spread, 300)) for k, value in enumerate(values)}
        one, other = reid_figures.of_all(found), reid_figures.of_all(found, -1)
        largest.append(values.max())
        corrected.append(one.value)
        covered.append(one.low <= 0 <= one.high)
        below.append(other.low > 0)
    assert np.mean(largest) == pytest.approx(1.16 * spread, rel=0.15)
    assert abs(np.mean(corrected)) < 0.7 * np.mean(largest)
    assert np.mean(covered) >= 0.95
    assert np.mean(below) <= 0.05


def test_a_headline_ends_where_the_highest_interval_of_any_attacker_ends() -> None:
    rng = np.random.default_rng(1)
    sure, unsure = found_by(0.05, rng.normal(0.05, 0.01, 400)), found_by(0.01, rng.normal(0.01, 0.1, 400))
    together = reid_figures.of_all({"sure": sure, "unsure": unsure})
    assert together.high > 0.2
    assert 0 < together.low < 0.05


def test_the_figures_are_plain_json_without_names(figures: dict[str, Any], orl: PrivateDataset) -> None:
    text = json.dumps(figures, allow_nan=False)
    assert not any(f'"{name}"' in text for name in {*orl.ids, *orl.identities})


def test_a_round_trip_that_changes_nothing_keeps_everything(figures: dict[str, Any]) -> None:
    real = figures["real"]
    assert real["round_trip"]["excess"]["value"] == real["member"]["excess"]["value"] > 0.6
    for share in real["round_trip"]["share_kept"].values():
        assert share["value"] == pytest.approx(1.0)
        assert share["low"] <= 1.0 <= share["high"]


def test_utility_and_fidelity(figures: dict[str, Any]) -> None:
    copies, strangers = figures["arms"]["copies"], figures["arms"]["strangers"]
    assert set(figures["real"]["utility"]["labels"]) == {"beard", "glasses"}
    # By this seed's split no member has a moustache, so there is nothing to learn it from: named, not hidden.
    assert figures["real"]["utility"]["skipped"] == {"moustache": "the training images have one class only"}
    assert 0.6 < figures["real"]["utility"]["auc"]["value"] <= 1
    assert copies["utility"]["auc"]["value"] > 0.5
    assert strangers["utility"]["auc"] is None
    assert strangers["utility"]["why"] == "the samples have no labels"
    # Held-out people's real images are the scale.
    for arm in (copies, strangers, figures["real"]):
        assert arm["fidelity"]["fid"]["name"] == "Fréchet distance, EfficientNet-Lite0 features"
        assert arm["fidelity"]["kid"]["low"] <= arm["fidelity"]["kid"]["value"] <= arm["fidelity"]["kid"]["high"]
        assert arm["fidelity"]["kid"]["n"] == 60


def test_the_strangers_are_the_audit_half_alone(figures: dict[str, Any]) -> None:
    real = figures["real"]
    assert (real["alpha"], real["strangers"]) == (0.05, 100)
    assert real["n"] == {
        "members": 200,
        "member_identities": 20,
        "strangers": 100,
        "stranger_identities": 10,
        "attackers_learnt_from": 100,
    }


def test_what_cannot_be_audited_is_refused_at_once(orl: PrivateDataset) -> None:
    good = samples(orl.members())
    wrong = AuditSettings(attackers=("thumbnails", "magenet"))
    with refused_as("unknown-name", "'imagenet'"):
        audit(orl, {"teacher": good}, None, wrong, SEED)
    with refused_as("bad-value", "audit.attackers"):
        audit(orl, {"teacher": good}, None, AuditSettings(attackers=()), SEED)
    with refused_as("no-images", "'teacher'"):
        audit(orl, {"teacher": good.first(0)}, None, SETTINGS, SEED)
    small = samples(orl.members(), orl.members().images[:, ::2, ::2])
    with refused_as("mixed-sizes"):
        audit(orl, {"teacher": small}, None, SETTINGS, SEED)
