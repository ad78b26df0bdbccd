"""A training that ends before it remembers: at the same step also where it was killed, by nobody whom the audit measures."""

from pathlib import Path

import numpy as np
import pytest

from pd.audit.estimate import Estimate
from pd.audit.gap import Look
from pd.config import DataSettings, ModelSettings, parse_settings
from pd.dataset.private import PrivateDataset
from pd.diffusion.data import TrainingData
from pd.engine.training.definition import name_of
from pd.engine.training.generalise import LookedAt, taken, words
from pd.engine.training.train import train_model
from pd.errors import UserError
from pd.store.files import digest_folder

MODEL = ModelSettings(
    unet="tiny",
    steps=40,
    batch=8,
    learning_rate=2e-3,
    schedule="constant",
    warmup=2,
    workers=0,
    samples_every=0,
    checkpoint_every=8,
    ema=0.5,
    stop="generalises",
)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def seen() -> LookedAt:
    """Twelve pictures of noise that are learned from, and twelve others: all that can be learned of them is by heart."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 1), dtype=np.uint8)
    people = [f"p{row}" for row in range(24)]
    return LookedAt(TrainingData(pixels, ["a face"] * 24), people, people, np.arange(24) < 12)


def train(folder: Path, seen: LookedAt, model: ModelSettings = MODEL) -> dict:
    images = TrainingData(seen.data.images[:12], ["a face"] * 12)
    return train_model(model, DataSettings(), images, folder / "out", folder / "work", 3, looked_at=seen)


@pytest.fixture(scope="module")
def whole(seen: LookedAt, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder, seen)


def test_it_ends_at_the_first_checkpoint_that_remembers_and_the_one_before_is_taken(
    whole: tuple[Path, dict], seen: LookedAt
) -> None:
    folder, facts = whole
    steps = [row[0] for row in facts["gap"]]
    assert len(steps) > 1
    assert steps[-1] < MODEL.steps  # it did not train to the end
    assert facts["stopped_at"] == steps[-2]
    assert facts["memorised"][-1][2] > 0
    (job,) = (folder / "work").iterdir()
    assert digest_folder(folder / "out") == digest_folder(job / "snapshots" / f"step_{steps[-2]:08d}")
    assert train(folder, seen) == facts
    assert facts["remembers_at"] == steps[-1]


def test_what_is_said_of_the_step_that_is_taken_holds() -> None:
    def look(step: int, low: float) -> Look:
        return Look(step, Estimate(0.1, 0.0, 0.2, 9), Estimate(0.1, low, 0.2, 9))

    def told(*lows: float) -> str:
        facts: dict = dict(taken([look(4 * number, low) for number, low in enumerate(lows, 1)]))
        return words(facts["stopped_at"], facts.get("remembers_at"), 8)

    assert told(-0.1, -0.1) == "all 8 steps: it remembers at no checkpoint"
    assert "already the first checkpoint remembers" in told(0.1, 0.1)
    assert told(-0.1, 0.1) == "step 4 of 8, the last checkpoint before it remembers"


def test_killed_between_a_look_and_its_checkpoint_it_ends_where_it_would_have(
    whole: tuple[Path, dict], seen: LookedAt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pd.engine.training import loop

    keep, steps = loop._Training._checkpoint, [row[0] for row in whole[1]["gap"]]

    def die(self: loop._Training, done: int) -> None:
        if done == steps[1]:
            raise InterruptedError
        keep(self, done)

    monkeypatch.setattr(loop._Training, "_checkpoint", die)
    with pytest.raises(InterruptedError):
        train(tmp_path, seen)
    monkeypatch.setattr(loop._Training, "_checkpoint", keep)
    facts = train(tmp_path, seen)
    assert {key: facts[key] for key in ("stopped_at", "gap", "memorised")} == {
        key: whole[1][key] for key in ("stopped_at", "gap", "memorised")
    }
    assert digest_folder(tmp_path / "out") == digest_folder(whole[0] / "out")


def test_other_people_make_another_training_and_an_absent_setting_the_same_one_as_before(seen: LookedAt) -> None:
    images = TrainingData(seen.data.images[:12], ["a face"] * 12)
    plain = MODEL.model_copy(update={"stop": "steps"})
    assert name_of(plain, DataSettings(), images, 3) != name_of(MODEL, DataSettings(), images, 3, "a")
    assert name_of(MODEL, DataSettings(), images, 3, "a") != name_of(MODEL, DataSettings(), images, 3, "b")


def test_only_calibration_people_and_members_are_looked_at() -> None:
    settings = parse_settings({})
    people = [f"p{row // 2:02d}" for row in range(32)]
    pixels = np.zeros((32, 16, 16, 1), np.uint8)
    splits = ["member" if row < 16 else "holdout" for row in range(32)]
    real = PrivateDataset([f"i{row}" for row in range(32)], pixels, people, splits, ["a face"] * 32, {})
    seen = LookedAt.of(real, settings)
    audited = set(real.holdout_half("audit", settings.seed).identities)
    assert not audited & set(seen.people)
    assert {name for name, member in zip(seen.people, seen.members, strict=True) if member} <= set(real.members().identities)
    assert 0 < seen.members.sum() < len(seen.members)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"student": {"stop": "generalises"}}, "student.stop"),
        ({"teacher": {"stop": "generalises"}, "audit": {"arms": ["teacher", "early"]}}, "already"),
        ({"teacher": {"trained": "somewhere", "stop": "generalises"}}, "teacher.trained"),
    ],
)
def test_what_cannot_stop_so_is_refused_in_one_line(tree: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_settings(tree)
