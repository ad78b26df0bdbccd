"""Whom samples come closest to, where the truth is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pd.audit.results import AuditResult
from pd.audit.run import audit
from pd.config import AuditSettings
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.report.public import public_audit

SETTINGS = AuditSettings(attackers=("thumbnails",), samples=110, attacker_steps=30, bootstrap=50)
COPIED = 17


@pytest.fixture(scope="module")
def figures(orl: PrivateDataset) -> dict[str, Any]:
    """Strangers, and last among them ten copies of one member's picture: nine noisy ones, then an exact one."""
    others, members = orl.holdout_half("calibration", 7), orl.members()
    copies = np.repeat(members.images[COPIED : COPIED + 1], 10, axis=0).astype(np.int16)
    copies[:9] += np.random.default_rng(0).normal(scale=6, size=copies[:9].shape).astype(np.int16)
    images = np.concatenate([others.images[:100], copies.clip(0, 255).astype(np.uint8)])
    made = SyntheticDataset([f"sample {i}" for i in range(110)], images, [""] * 110, {})
    return audit(orl, {"kept": made, "teacher": replace(made)}, None, SETTINGS, 7, shown="kept").as_json()


def test_the_copies_come_first_and_so_does_the_person(figures: dict[str, Any], orl: PrivateDataset) -> None:
    members = orl.members()
    found = figures["arms"]["kept"]["closest"]
    assert (found["attacker"], found["samples"]) == ("thumbnails", 110)
    for rows in (found["by_attacker"], found["by_pixels"]):
        assert len(rows) == 8
        assert rows[0] == ["sample 109", members.ids[COPIED], pytest.approx(1, abs=0.01)]
        assert {image for _, image, _ in rows} == {members.ids[COPIED]}
        likeness = [row[2] for row in rows]
        assert likeness == sorted(likeness, reverse=True)
    who, taken, likeness, image = found["people"][0]
    assert (who, image) == (members.identities[COPIED], members.ids[COPIED])
    assert taken >= 10
    assert likeness == pytest.approx(1, abs=0.01)


def test_only_the_arm_that_was_asked_for_and_only_at_home(figures: dict[str, Any]) -> None:
    assert "closest" not in figures["arms"]["teacher"]
    assert "closest" not in public_audit(AuditResult.model_validate(figures)).as_json()["arms"]["kept"]
