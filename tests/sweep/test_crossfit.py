from collections.abc import Sequence

import numpy as np
import pytest

from pd.audit.attackers import choose
from pd.audit.attackers.thumbnails import Thumbnails
from pd.config import AuditSettings
from pd.dataset.images import Pixels
from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.sweep.crossfit import CrossFit, words_of
from pd.sweep.leak import leak

SETTINGS = AuditSettings(attackers=("thumbnails",), alpha=0.05)
SEED = 7


def dataset(holdout: int = 12, members: int = 8, each: int = 6) -> PrivateDataset:
    """Noise with a pattern of each person's own."""
    rng = np.random.default_rng(1)
    faces = np.repeat(rng.normal(128, 40, (holdout + members, 16, 16, 1)), each, axis=0)
    images = (faces + rng.normal(0, 25, faces.shape)).clip(0, 255).astype(np.uint8)
    who = [f"person-{k:02d}" for k in np.repeat(np.arange(holdout + members), each)]
    split = ["holdout" if k < holdout * each else "member" for k in range(len(who))]
    return PrivateDataset([f"{k}" for k in range(len(who))], images, who, split, [""] * len(who), {})  # type: ignore[arg-type]


def test_only_calibration_people_are_looked_at_and_no_fold_knows_its_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    real, learned = dataset(), list[set[str]]()
    pictures = {image.tobytes(): who for image, who in zip(real.images, real.identities, strict=True)}

    class Watched(Thumbnails):
        def __init__(self) -> None:
            self.knows, self.looked_at = set[str](), set[str]()

        def fit(self, images: Pixels, identities: Sequence[str], *, seed: int, steps: int) -> None:
            self.knows = set(identities)
            learned.append(self.knows)

        def embed(self, images: Pixels) -> np.ndarray:
            self.looked_at |= {pictures.get(image.tobytes(), "mirrored") for image in images}
            return super().embed(images)

    monkeypatch.setitem(choose.ATTACKERS, "thumbnails", Watched)
    fitted = CrossFit.fit(real, SETTINGS, 10, SEED)
    calibration = set(real.holdout_half("calibration", SEED).identities)
    final = set(real.holdout_half("audit", SEED).identities)
    one, two = learned
    assert one | two == calibration
    assert not one & two
    for fold in fitted.folds["thumbnails"]:
        assert isinstance(fold.attacker, Watched)
        assert fold.attacker.looked_at - {"mirrored"} - set(real.members().identities) == calibration - fold.attacker.knows
        assert not fold.attacker.looked_at & final
    assert words_of(real, SEED) == (
        "attackers learned from 3 calibration people with 3 others as strangers, then the reverse, averaged; "
        "the final audit's 6 people were not looked at"
    )


def test_member_pictures_leak_and_the_audits_people_do_not() -> None:
    real = dataset(holdout=40)
    fitted = CrossFit.fit(real, SETTINGS, 100, SEED)
    others = real.holdout_half("audit", SEED).images
    images = np.concatenate([real.members().images, others])
    copies = np.arange(len(images)) < len(images) - len(others)
    views = fitted.look(images)
    found, none = leak(views, copies, SEED), leak(views, ~copies, SEED)
    assert found is not None
    assert none is not None
    assert found.excess.low > 0.6
    assert none.excess.low <= 0 <= none.excess.high


def test_resamples_draw_the_same_members_and_other_strangers_in_each_fold() -> None:
    one, two = CrossFit.fit(dataset(holdout=12), SETTINGS, 50, SEED).folds["thumbnails"]
    (members, strangers), (same, others) = one.drawn, two.drawn
    np.testing.assert_array_equal(members, same)
    assert strangers.shape == others.shape
    assert (strangers[1:] != others[1:]).any(axis=1).mean() > 0.5  # by index


def test_a_crowd_is_resampled_in_bunches(monkeypatch: pytest.MonkeyPatch) -> None:
    real = dataset(holdout=20)
    plain = CrossFit.fit(real, SETTINGS, 50, SEED).look(real.images)
    monkeypatch.setattr("pd.sweep.crossfit._MEMBERS", 4)
    monkeypatch.setattr("pd.sweep.crossfit._STRANGERS", 3)
    bunched = CrossFit.fit(real, SETTINGS, 50, SEED).look(real.images)
    everybody = np.ones(len(real), dtype=bool)
    one, other = leak(plain, everybody, SEED), leak(bunched, everybody, SEED)
    assert one is not None
    assert other is not None
    assert bunched["thumbnails"][0].members.shape == (51, 4)
    assert bunched["thumbnails"][0].strangers.shape == (51, 3)
    assert other.excess.value == one.excess.value
    assert other.excess.high > other.excess.low


def test_too_few_people_and_no_attacker_are_refused() -> None:
    with pytest.raises(UserError, match="3 calibration people; a search needs four"):
        CrossFit.fit(dataset(holdout=6), SETTINGS, 10, SEED)
    with pytest.raises(UserError, match="no attacker"):
        CrossFit.fit(dataset(), AuditSettings(attackers=()), 10, SEED)
