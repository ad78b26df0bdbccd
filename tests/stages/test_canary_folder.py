"""Canaries in a folder for somebody else's training, and the judgement of its scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from pd.dataset.images import encode_png
from pd.errors import UserError
from pd.stages.canary_folder import insert, judge_file


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "people"
    (folder / "ann").mkdir(parents=True)
    (folder / "ann" / "1.png").write_bytes(encode_png(np.zeros((8, 8, 1), np.uint8)))
    return folder


def scored(key: Path, out: Path, knows: bool) -> Path:
    truth = json.loads(key.read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    lines = [f"{name}.png,{float(it) * knows + 0.1 * rng.random()}" for name, it in truth.items()]
    out.write_text("\n".join(["canary,score", *lines]), encoding="utf-8")
    return out


def test_a_training_that_remembers_is_refuted_and_one_that_does_not_is_not(images: Path, tmp_path: Path) -> None:
    key = insert(images, tmp_path / "out", 100, 16, seed=1)
    truth = json.loads(key.read_text(encoding="utf-8"))
    placed = {path.name for path in (tmp_path / "out").iterdir()} - {"ann"}
    assert placed == {name for name, it in truth.items() if it}
    assert 30 < len(placed) < 70
    assert len(list(key.parent.glob("*.png"))) == 100
    assert judge_file(scored(key, tmp_path / "a.csv", True), key, 1e-5, 0.95).epsilon > 1
    assert judge_file(scored(key, tmp_path / "b.csv", False), key, 1e-5, 0.95).epsilon < 1


def test_folders_that_canaries_cannot_be_put_beside(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lies in the folder of images"):
        insert(images, images / "out", 10, 16, 7)
    insert(images, tmp_path / "once", 20, 16, 7)
    with pytest.raises(UserError, match="canaries in this folder already"):
        insert(tmp_path / "once", tmp_path / "twice", 20, 16, 7)


def test_bad_scores_are_refused(images: Path, tmp_path: Path) -> None:
    key = insert(images, tmp_path / "out", 20, 16, seed=1)
    for text in ("canary,score\ncanary-00000,1", "a,b\n1,2", "canary,score\ncanary-00000,x"):
        (tmp_path / "s.csv").write_text(text, encoding="utf-8")
        with pytest.raises(UserError):
            judge_file(tmp_path / "s.csv", key, 1e-5, 0.95)
    with pytest.raises(UserError, match="already"):
        insert(images, tmp_path / "out", 20, 16, seed=1)
