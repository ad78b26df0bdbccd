"""Classes of the kept candidates, what is stored of them, and when it may leave."""

import json
from pathlib import Path

import numpy as np
import pytest

from pd.config import CondenseSettings, Settings
from pd.dataset.synthetic import SyntheticDataset
from pd.errors import UserError
from pd.progress import Reporter
from pd.release.files import check_files, contents, factor_of
from pd.stages.condense import classes_of, dataset, parts_of, sheet
from pd.stages.release import decided, execute
from pd.store.context import Context
from pd.store.run import Run

WITH = CondenseSettings(labels=("glasses",), per_class=2)


@pytest.fixture
def kept() -> SyntheticDataset:
    images = np.random.default_rng(1).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    glasses = np.array([0.0, 1.0] * 5 + [np.nan] * 2)
    prompts = ["a face" if value == 0 else "a face with glasses" for value in glasses]
    ids = [f"{row:09d}" for row in range(12)]
    return SyntheticDataset(ids, images, prompts, {"glasses": glasses, "age": np.arange(12.0), "beard": glasses})


def test_classes_are_values_of_a_label_or_of_several(kept):
    data, rows = classes_of(kept, WITH)
    assert data.names == ["glasses=0", "glasses=1"]
    assert rows.tolist() == list(range(10))
    assert data.labels.tolist() == [0, 1] * 5
    both, _ = classes_of(kept, CondenseSettings(labels=("glasses", "beard")))
    assert both.names == ["glasses=0 beard=0", "glasses=1 beard=1"]


def test_what_makes_no_classes(kept, monkeypatch):
    monkeypatch.setattr("pd.stages.condense.MOST_CLASSES", 5)
    with pytest.raises(UserError, match="12 different values"):
        classes_of(kept, CondenseSettings(labels=("age",)))
    with pytest.raises(UserError, match="no label 'hat'"):
        classes_of(kept, CondenseSettings(labels=("hat",)))


def test_pictures_get_the_prompt_and_labels_of_their_class(kept):
    data, rows = classes_of(kept, WITH)
    made = dataset(data.images[:2], np.array([0, 1]), kept, rows, data.labels, WITH)
    assert made.prompts == ["a face", "a face with glasses"]
    assert made.labels["glasses"].tolist() == [0.0, 1.0]
    parts = parts_of(made, 2)
    assert parts.images[:].shape == (8, 8, 8, 1)
    assert parts.labels["glasses"].tolist() == [0.0] * 4 + [1.0] * 4
    assert sheet(data.images[:3], np.array([0, 0, 1])).shape == (16, 16, 1)


CLEAN = {"value": 0.01, "low": -0.02, "high": 0.04, "n": 100}
LEAK = {"value": 0.3, "low": 0.2, "high": 0.4, "n": 100}


@pytest.fixture
def release(tmp_path: Path, kept):
    def make(condensed, accept=False) -> Run:
        run = Run(tmp_path / "run")
        for folder in (run.student, run.kept):
            folder.mkdir(parents=True, exist_ok=True)
        kept.write(run.condensed / "data")
        figures = {"filtered": CLEAN, "kept": CLEAN, "condensed": condensed}
        run.audit.write_text(json.dumps({"arms": {arm: {"reid": {"excess": one}} for arm, one in figures.items()}}))
        given = {"labels": ["glasses"], "factor": 2, "accept_leak": accept}
        settings = Settings.model_validate({"name": "run", "runs": str(tmp_path), "condense": given})
        assert settings.audited_arms[-1] == "condensed"
        execute(Context(settings, run, Reporter()))
        return run

    return make


def test_cleared_pictures_are_released(release):
    run = release(CLEAN)
    assert contents(run.release) == ["student", "data", "condensed set"]
    assert factor_of(run.release) == 2
    assert [path.name for path in (run.release_condensed / "data").iterdir()] == ["part-00000.parquet"]
    assert not any("condensed" in fault for fault in check_files(run.release)[0].detail.split("; "))


@pytest.mark.parametrize(("figure", "word"), [(LEAK, "leaks (Re-identification"), (None, "is not shown to be clear")])
def test_what_leaks_or_is_not_known_stays(release, figure, word):
    run = release(figure)
    assert not run.release_condensed.exists()
    assert contents(run.release) == ["student", "data"]
    assert decided(run)[0].startswith(f"the condensed set {word}")
    assert release(figure, accept=True).release_condensed.exists()
