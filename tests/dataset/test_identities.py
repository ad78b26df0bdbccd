import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pd.dataset.identities import SIDE, across, contradictions
from pd.dataset.ingest import ingest
from pd.dataset.readers.normal import alike


def test_look_alikes():
    assert alike(["7", "007", "70", "a1", "A01", "b", "B "]) == [["007", "7"], ["A01", "a1"], ["B ", "b"]]
    assert alike(["10", "1", "100"]) == []


def table(folder, **columns):
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "part-00000.parquet")
    return folder


def test_people_whose_labels_disagree(tmp_path):
    people = [f"p{n // 3}" for n in range(90)]
    sex = ["F" if n // 3 % 2 else "M" for n in range(90)]
    sex[4] = "F" if sex[4] == "M" else "M"
    rng = np.random.default_rng(0)
    rare = (rng.random(90) < 0.02).astype(int)  # rare findings agree by chance
    found = table(tmp_path / "a", identity=people, sex=sex, rare=rare, view=rng.integers(0, 2, 90), same=["x"] * 90)
    assert contradictions(found) == ["1 people have images that disagree in 'sex', which others' do not: p1"]


def test_few_people_whose_labels_disagree(tmp_path):
    people = [f"p{n // 3}" for n in range(24)]
    sex = ["F" if n // 3 % 2 else "M" for n in range(24)]
    blank = ["" if n % 3 == 1 else word for n, word in enumerate(sex)]  # of a table with gaps: says nothing
    number = [float(word == "F") if word else None for word in blank]
    sex[4] = "M"
    view = np.random.default_rng(0).integers(0, 2, 24)
    found = table(tmp_path / "a", identity=people, sex=sex, view=view, blank=blank, number=number, weight=np.arange(24) / 7)
    assert contradictions(found) == ["1 people have images that disagree in 'sex', which others' do not: p1"]
    before, number[3] = list(number), 0.0
    found = table(tmp_path / "b", identity=people, number=number)  # two images a person: less sure
    assert contradictions(found) == []
    found = table(tmp_path / "c", identity=[*people, *people], number=[*number, *before])
    assert len(contradictions(found)) == 1
    assert contradictions(table(tmp_path / "d", identity=["p0", "p0", "p1", "p1"], sex=["F", "M", "M", "M"])) == []


def test_near_copies_across(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (40, SIDE * SIDE), dtype=np.uint8)
    pictures[30] = (pictures[3] * 0.8 + 20).astype(np.uint8)  # brighter, and of less contrast
    pictures[31] = pictures[4].reshape(SIDE, SIDE)[:, ::-1].ravel()
    pictures[32], pictures[5] = 100, 100  # flat ones are like all flat ones
    holdout = np.arange(40) >= 20
    (line,) = across(pictures, [f"p{n}" for n in range(40)], holdout)
    assert line.startswith("2 times")
    assert line.endswith(": p3 and p30; p4 and p31")
    assert across(pictures[:30], [f"p{n}" for n in range(30)], holdout[:30]) == []


def test_ingest_tells_of_them(people, settings, tmp_path):
    root = people(n=12)
    (root / "p01").mkdir()
    with Image.open(root / "p1" / "0.png") as picture:
        picture.point(lambda grey: min(grey + 3, 255)).save(root / "p01" / "0.png")
    report = ingest(settings(path=root, holdout=0.5), 3, tmp_path / "out")
    assert any("leading zeros" in line and "'p01' and 'p1'" in line for line in report.lines())
    sides = {
        row["identity"]: row["split"] for row in pq.read_table(tmp_path / "out", columns=["identity", "split"]).to_pylist()
    }
    assert any("nearly the same picture" in line for line in report.lines()) == (sides["p1"] != sides["p01"])
