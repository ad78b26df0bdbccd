"""Anybody's images condensed, from a folder for each class."""

import json

import numpy as np
import pytest

from pd.dataset.images import encode_png
from pd.dataset.synthetic import SyntheticDataset
from pd.errors import UserError
from pd.progress import Reporter
from pd.stages.condense_images import condense_images

SMALL = ("data.size=16", "condense.width=8", "condense.batch=4", "condense.per_class=2", "condense.training.steps=2")


@pytest.fixture
def folder(tmp_path):
    chance = np.random.default_rng(1)
    for name, level in (("dark", 0), ("bright", 150)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(5):
            image = (chance.integers(0, 80, (16, 16, 1)) + level).astype(np.uint8)
            (tmp_path / "in" / name / f"{number}.png").write_bytes(encode_png(image))
    return tmp_path / "in"


def test_a_folder_for_each_class(folder, tmp_path):
    found = condense_images(str(folder), "folder", tmp_path / "out", SMALL, Reporter())
    assert found == {"classes": 2, "pictures": 4, "from": 10}
    made = SyntheticDataset.read(tmp_path / "out" / "data")
    assert made.labels["folder"].tolist() == [0, 0, 1, 1]
    assert made.images[:2].mean() > made.images[2:].mean()  # bright comes before dark
    assert (tmp_path / "out" / "sheet.png").exists()
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == {"folder": ["bright", "dark"]}
    assert not (tmp_path / ".out.work" / "images").exists()  # everybody's pictures do not stay


def test_a_label_that_is_not_there(folder, tmp_path):
    with pytest.raises(UserError, match="no label 'hat'"):
        condense_images(str(folder), "hat", tmp_path / "out", SMALL, Reporter())
    assert not (tmp_path / "out").exists()
