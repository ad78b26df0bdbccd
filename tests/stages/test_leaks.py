"""Calibration on generated leaks, with samples in place of teachers' (trainings are tested elsewhere)."""

import json
from pathlib import Path

import numpy as np
import pytest

from pd.config import Settings
from pd.dataset.private import PrivateDataset
from pd.progress import Reporter
from pd.stages import leaks
from pd.stages.leak_steps import steps_of
from pd.store.context import Context
from pd.store.run import Run


@pytest.fixture(scope="module")
def people() -> PrivateDataset:
    """120 people, 3 pictures each: a smooth face of one's own, and noise."""
    rng = np.random.default_rng(0)
    faces = np.kron(rng.uniform(40, 215, (120, 1, 4, 4)), np.ones((1, 3, 8, 8)))
    images = np.clip(faces + rng.normal(0, 12, faces.shape), 0, 255).astype(np.uint8).reshape(360, 32, 32, 1)
    names = [f"p{i // 3}" for i in range(360)]
    splits = ["member" if i < 60 else "holdout" for i in range(360)]
    return PrivateDataset([str(i) for i in range(360)], images, names, splits, ["a face"] * 360, {})


def test_everybody_plays_one_part_in_each_and_is_seen_once(people: PrivateDataset) -> None:
    half = people.holdout_half("calibration", 7)
    parts = leaks.parts_of(half, 7)
    whole = set(half.identities)
    for part in parts:
        sides = [set(side.identities) for side in (part.seen, part.teaching, part.strangers)]
        assert [len(side) for side in sides] == [25, 12, 13]
        assert set.union(*sides) == whole
        assert sum(map(len, sides)) == len(whole)
    assert set(parts[0].seen.identities) | set(parts[1].seen.identities) == whole
    assert not whole & set(people.holdout_half("audit", 7).identities)


def test_leaks_are_seen_and_a_stricter_quantile_leaves_fewer(
    people: PrivateDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, rng = Run(tmp_path / "run"), np.random.default_rng(1)

    def samples(context: Context, seen: PrivateDataset, number: int) -> np.ndarray:
        """A third are noisy copies, the others are of nobody."""
        copies = seen.images[rng.integers(len(seen), size=200)] + rng.normal(0, 8, (200, 32, 32, 1))
        nobody = np.kron(rng.uniform(40, 215, (400, 4, 4)), np.ones((8, 8)))[..., None]
        return np.clip(np.concatenate([copies, nobody]), 0, 255).astype(np.uint8)

    monkeypatch.setattr(leaks, "_samples", samples)
    monkeypatch.setattr(leaks, "connect", lambda *_: None)
    monkeypatch.setattr(PrivateDataset, "open", classmethod(lambda cls, folder: people))
    monkeypatch.setattr(PrivateDataset, "read_words", classmethod(lambda cls, folder: people))
    settings = {
        "name": "run",
        "runs": str(tmp_path),
        "filter": {"calibration": "leaks", "families": ["whitened"]},
        "reid": {"spaces": ["whitened"]},
        "audit": {"attacker_steps": 40},
    }
    monkeypatch.setattr(leaks, "JUDGES", ("thumbnails", "gradients", "whitened"))
    run.private.mkdir(parents=True)
    facts = leaks.execute(Context(Settings.model_validate(settings), run, Reporter()))
    assert facts["unfiltered"] > 0.2
    rows = json.loads(run.leaks.read_text())["rows"]
    assert {row["judge"] for row in rows} <= {"thumbnails", "gradients", ""}  # never the one that votes
    kept = [row["kept"] for row in rows]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] < 0.72  # copies go at once
    strictest = [row for row in rows if row["excess"] is not None][-1]
    assert strictest["excess"] < facts["unfiltered"] / 3


def test_too_few_people_fall_back_and_it_is_said(people: PrivateDataset, tmp_path: Path, capsys, monkeypatch) -> None:
    few = people.where([int(name[1:]) < 60 for name in people.identities])
    monkeypatch.setattr(PrivateDataset, "read_words", classmethod(lambda cls, folder: few))
    run = Run(tmp_path / "run")
    run.private.mkdir(parents=True)
    settings = Settings.model_validate({"name": "run", "runs": str(tmp_path), "filter": {"calibration": "leaks"}})
    assert leaks.execute(Context(settings, run, Reporter())) == {"calibrated_on": "strangers"}
    why = json.loads(run.leaks.read_text())["why"]
    assert why.startswith("20 calibration people; teachers that memorise some need 40")
    assert "20 calibration people" in " ".join(capsys.readouterr().err.split())


def test_the_teachers_take_a_bounded_share() -> None:
    assert steps_of(Settings.model_validate({"teacher": {"steps": 1200}})) == 300
    assert steps_of(Settings.model_validate({"teacher": {"steps": 2}, "filter": {"leak_share": 0.1}})) == 1
