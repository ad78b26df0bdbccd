"""`pd filter` and `pd audit` on images that somebody else's generator made."""

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter
from refusals import refused_as
from terminal import PD, ROOT, pd

from pd.config import DataSettings, Settings
from pd.dataset.readers.choose import open_source
from pd.dataset.splits import holdout_identities
from pd.errors import UserError
from pd.progress import Reporter
from pd.seeds import derive
from pd.stages.external import audit_folders, filter_folders

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The faces as a folder with one sub-folder for each person."""
    root = tmp_path_factory.mktemp("people")
    for number, row in enumerate(open_source(DataSettings()).rows()):
        folder = root / row.identity
        folder.mkdir(exist_ok=True)
        with Image.open(row.data) as picture:
            picture.save(folder / f"{number:03d}.png")
    return root


@pytest.fixture(scope="module")
def members(people: Path) -> set[str]:
    settings = Settings()
    names = [folder.name for folder in people.iterdir()]
    return set(names) - set(holdout_identities(names, derive(settings.seed, "split"), settings.data.holdout))


def test_copies_of_members_are_dropped_and_strangers_stay(people: Path, members: set[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = tmp_path / "samples"
    (samples / "nested").mkdir(parents=True)
    for folder in sorted(people.iterdir()):
        for path in sorted(folder.iterdir())[:4]:
            with Image.open(path) as picture:
                small = picture.convert("L").filter(ImageFilter.GaussianBlur(1.5))
                noisy = np.asarray(small, np.float32) + rng.normal(0, 6, (small.height, small.width))
                copy = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
            kind = "copy" if folder.name in members else "stranger"
            copy.save(samples / "nested" / f"{kind}-{folder.name}-{path.stem}.png")
    out = tmp_path / "decisions"
    done = pd("filter", "--real", people, "--synthetic", samples, "--out", out, "--set", "reid.steps=100")
    assert done.returncode == 0, done.stderr[-2000:]
    table = pq.read_table(out)
    assert table.column_names[:6] == ["id", "seed", "prompt", "image", "score", "nearest"]
    rows = table.to_pylist()
    assert all((samples / row["id"]).is_file() for row in rows)
    copies = [row for row in rows if "/copy-" in row["id"]]
    strangers = [row for row in rows if "/stranger-" in row["id"]]
    assert np.mean([row["keep"] for row in copies]) <= 0.02
    # The threshold lets a stranger be dropped in 1 of 20 by each of two detectors, on other people than these.
    assert np.mean([row["keep"] for row in strangers]) >= 0.7
    assert {row["reason"] for row in copies if not row["keep"]} <= {"reid", "near_copy"}
    tested = json.loads((out / "_figures.json").read_text())["at_chosen"]
    assert {"member", "jittered", "other_photo"} < set(tested["sensitivity"])  # and altered copies
    assert tested["sensitivity"]["member"]["value"] == 1
    assert tested["sensitivity"]["jittered"]["low"] > 0.8
    assert tested["specificity"]["n"] == 100  # pictures of strangers who set no threshold
    for told in ("Jittered copies caught", "Other photos of members caught", "Strangers let pass"):
        assert told in done.stdout


@pytest.mark.parametrize(
    ("there", "said"),
    [("_figures.json", "no image in this folder"), ("notes.txt", "other things"), ("mine.parquet", "other things")],
)
def test_only_a_folder_of_decisions_is_written_over(there: str, said: str, people: Path, tmp_path: Path) -> None:
    out, real = tmp_path / "out", tmp_path / "real"
    out.mkdir()
    real.mkdir()
    pq.write_table(pa.table({"score": [0.5], "keep": [True], "reason": [""]}), out / "part-00000.parquet")
    if there == "mine.parquet":
        pq.write_table(pa.table({"image": [b"x"]}), out / there)
    else:
        (out / there).touch()
    with pytest.raises(UserError, match=said):
        filter_folders(str(real), str(people), out, (), Reporter())


@pytest.mark.parametrize("name", ["people.csv", "list.json", "number.json", "people.csv/below/audit.json"])
def test_figures_are_written_over_nothing_but_figures(name: str, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("path,identity\n")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "number.json").write_text("1")
    with pytest.raises(UserError) as refused:
        audit_folders(str(tmp_path), str(tmp_path / "none"), tmp_path / name, (), Reporter())
    assert refused.value.code in ("other-files", "cannot-write")
    assert (tmp_path / "people.csv").read_text() == "path,identity\n"
    (tmp_path / "audit.json").write_text('{"arms": {}}')
    with refused_as("no-such-folder"):  # of the images
        audit_folders(str(tmp_path), str(tmp_path / "none"), tmp_path / "audit.json", (), Reporter())


def test_thresholds_from_generated_leaks_are_refused_where_no_teacher_is_trained(tmp_path: Path) -> None:
    with refused_as("bad-options", "filter.calibration"):
        filter_folders(str(tmp_path), str(tmp_path), tmp_path / "out", ["filter.calibration=leaks"], Reporter())


@pytest.mark.exhaustive
def test_the_audit_of_members_finds_them_and_of_strangers_nobody(people: Path, members: set[str], tmp_path: Path) -> None:
    excess = {}
    for kind in ("members", "strangers"):
        folder = tmp_path / kind
        folder.mkdir()
        for person in sorted(people.iterdir()):
            if (person.name in members) == (kind == "members"):
                for path in person.iterdir():
                    (folder / f"{person.name}-{path.name}").write_bytes(path.read_bytes())
        out = tmp_path / f"{kind}.json"
        done = pd(
            "audit",
            "--real",
            people,
            "--synthetic",
            folder,
            "--out",
            out,
            "--fail-above",
            "excess=0.2",
            "--set",
            "audit.bootstrap=200",
        )
        assert done.returncode == (3 if kind == "members" else 4), done.stderr[-2000:]
        assert "Verdict: " + ("leak" if kind == "members" else "cannot tell") in " ".join(done.stdout.split())
        assert "copies of" in done.stdout
        found = json.loads(out.read_text())["arms"]["synthetic"]
        excess[kind] = found["reid"]["excess"]
        assert (found["extraction"]["copies"]["excess"]["low"] > 0.5) == (kind == "members")
    assert excess["members"]["low"] > 0.5
    # These strangers are the control gallery themselves, so the control rate exceeds the main rate.
    assert excess["strangers"]["value"] < 0.1


def test_a_terminated_filter_leaves_no_private_image_behind(people: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ["filter", "--real", people, "--synthetic", people, "--out", tmp_path / "out", "--set", "reid.steps=5000"]
    process = subprocess.Popen(
        [str(word) for word in (PD, *words)], env={**os.environ, "TMPDIR": str(scratch)}, cwd=ROOT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(scratch.glob("pd-filter-*/dataset/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(scratch.glob("pd-filter-*"))
    process.terminate()
    assert process.wait(30) == 130
    assert not list(scratch.glob("pd-filter-*"))
    assert not (tmp_path / "out").exists()
