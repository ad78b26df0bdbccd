"""The same command on a data set of another kind. A file of its own, so that a free worker can take it."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from terminal import SHORT_AUDIT, pd

from pd.config import DataSettings
from pd.dataset.readers.choose import open_source

pytestmark = pytest.mark.slow


@pytest.mark.exhaustive
def test_the_same_command_on_another_data_set(tmp_path: Path) -> None:
    """A manifest of 15 people in colour, of odd sizes, with labels and captions that nobody shares."""
    people = sorted({row.identity for row in open_source(DataSettings()).rows()})[:15]
    with (tmp_path / "people.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "identity", "caption", "glasses"])
        for number, row in enumerate(open_source(DataSettings()).rows()):
            if row.identity in people:
                with Image.open(row.data) as picture:
                    tinted = Image.merge("RGB", [picture.convert("L").resize((80 + number % 7, 60))] * 3)
                tinted.save(tmp_path / f"{number}.jpg", quality=95)
                table.writerow([f"{number}.jpg", row.identity, f"patient {number}", number % 2])
    runs = tmp_path / "runs"
    debugged = ["teacher.workers=0", "student.workers=0"]  # in the process of `pd`, without Ray's workers
    words = [
        "name=other",
        f"runs={runs}",
        "data.reader=manifest",
        f"data.path={tmp_path / 'people.csv'}",
        "data.mode=rgb",
        *debugged,
        *SHORT_AUDIT,
    ]
    done = pd("run", "configs/smoke.yaml", *(word for item in words for word in ("--set", item)), timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    release = runs / "other" / "release"
    assert set(pq.read_table(release / "data")["prompt"].to_pylist()) <= {"a photo of a person", "a photo of a person, glasses"}
    assert "patient" not in (release / "README.md").read_text()
    assert json.loads((release / "audit.json").read_text())["arms"]["filtered"]["utility"]["auc"] is not None
