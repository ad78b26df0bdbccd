"""The whole method on a real Ray runtime: resume, selective redo, the release in stock tools, a planted real image."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray
from terminal import ALL_ARMS, PD, ROOT, SHORT_AUDIT, pd, pd_here

from pd.audit.planted import VIEWS
from pd.dataset.schema import IMAGE
from pd.stages.graph import STAGES
from pd.store.files import digest_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def run(smoke: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    copy = tmp_path / "runs" / "smoke"
    shutil.copytree(smoke, copy)
    return copy


@pytest.fixture(scope="module", autouse=True)
def ray_of_this_file() -> Iterator[None]:
    """The first command in this process that joins Ray starts it, for all of them."""
    yield
    ray.shutdown()


def again(
    run: Path, *sets: str, how: Callable[..., subprocess.CompletedProcess[str]] = pd_here
) -> subprocess.CompletedProcess[str]:
    words = [word for item in (f"runs={run.parent}", ALL_ARMS, *sets) for word in ("--set", item)]
    return how("run", "configs/smoke.yaml", *words)


def test_the_candidates_have_the_columns_that_users_were_promised(smoke: Path) -> None:
    files = sorted((smoke / "private" / "candidates").glob("*.parquet"))
    table = pq.read_table(files[0])
    assert table.column_names[:6] == ["id", "seed", "prompt", "image", "score", "nearest"]
    assert {"keep", "reason"} <= set(table.column_names)
    assert table.schema.field("image").type == IMAGE
    private = pq.read_table(smoke / "private" / "dataset")
    assert set(table["nearest"].to_pylist()) <= set(private["id"].to_pylist())
    assert {"id", "image", "identity", "split", "caption"} <= set(private.column_names)


def test_a_second_run_does_nothing_and_says_so(smoke: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file() and path.name != "settings.yaml"}
    done = pd_here("run", smoke / "private" / "settings.yaml", "--set", f"runs={smoke.parent}")
    assert done.returncode == 0
    assert "nothing to do" in done.stderr
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} <= {".lock", "events.jsonl"}


def test_status_shows_every_stage(smoke: Path) -> None:
    done = pd_here("status", smoke)
    assert done.returncode == 0
    rows = [line.split("│")[1].strip() for line in done.stdout.splitlines() if "│ done " in line]
    assert rows == [stage.name for stage in STAGES if stage.name in rows]  # in the order of the method
    assert {"ingest", "reid", "teacher", "generate", "filter", "student", "audit", "release", "report", "verify"} <= set(rows)
    assert "MB" in done.stdout


def test_what_is_private_is_for_its_owner_alone(smoke: Path) -> None:
    for folder in (smoke / "private", smoke / "work"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in (smoke / "private").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_the_audit_has_every_arm_and_two_attackers(smoke: Path) -> None:
    audit = json.loads((smoke / "release" / "audit.json").read_text())
    assert set(audit["arms"]) == {"teacher", "unfiltered", "random_drop", "kept", "filtered"}
    assert audit["filter"]["candidates"] == audit["filter"]["kept"] + sum(audit["filter"]["dropped"].values())
    for arm in audit["arms"].values():
        by_attacker = arm["reid"]["by_attacker"]
        assert len(by_attacker) >= 2
        # Attackers of a family that voted in the filter are no headline; the estimate is corrected for being the worst.
        independent = {name: found for name, found in by_attacker.items() if not found.get("voted")}
        assert 0 < len(independent) < len(by_attacker)
        assert arm["reid"]["attacker"] in independent
        assert arm["reid"]["excess"]["value"] <= max(found["excess"]["value"] for found in independent.values()) + 1e-9
        for estimate in (arm["reid"]["main"], arm["reid"]["control"], arm["reid"]["excess"]):
            assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_the_released_data_are_audited_as_they_are_released(smoke: Path) -> None:
    found = json.loads((smoke / "release" / "audit.json").read_text())["arms"]["kept"]
    released = pq.read_table(smoke / "release" / "data", columns=["id", "image"])
    samples = pq.read_table(smoke / "private" / "samples" / "kept", columns=["id", "image"])
    assert samples["id"].to_pylist() == released["id"].to_pylist()[:64]
    assert samples["image"][0] == released["image"][0]
    assert found["n"] == len(samples)
    assert found["membership"] == {"why": "no model to ask: these are images"}
    assert found["extraction"]["copies"]["excess"]["n"] == len(samples)


def test_the_report_shows_what_attackers_find_closest_in_the_release_and_the_release_does_not(smoke: Path) -> None:
    closest = json.loads((smoke / "private" / "audit.json").read_text())["arms"]["kept"]["closest"]
    released = set(pq.read_table(smoke / "release" / "data", columns=["id"])["id"].to_pylist())
    page = (smoke / "private" / "report.html").read_text()
    for name, image, _ in (*closest["by_attacker"], *closest["by_pixels"]):
        assert name in released
        assert f'alt="Generated candidate {name}"' in page  # its picture was found
        assert f'alt="Real image {image}, the nearest to candidate {name}"' in page
    assert closest["people"][0][0] in page
    assert "closest" not in (smoke / "release" / "audit.json").read_text()


def test_the_audit_says_what_the_filter_catches_and_whom_it_costs(smoke: Path) -> None:
    whole = json.loads((smoke / "private" / "audit.json").read_text())
    found = whole["filter"]
    for curves in (found["curves"], found["near_copy"]["curves"]):
        assert set(curves["sensitivity"]) == {"member", "jittered", "round_trip", "other_photo", *VIEWS}
        assert len(curves["thresholds"]) == len(curves["specificity"]) == len(curves["kept"])
    assert found["at_chosen"]["sensitivity"]["member"]["value"] == 1  # at any threshold: a member image is its own likeness
    assert 0 < found["at_chosen"]["sensitivity"]["other_photo"]["value"] < 1  # not itself: the gallery leaves it out
    assert found["at_chosen"]["specificity"]["n"] == 100  # the audit half alone
    assert {"kappa", "why"} & set(found["consistency"])
    assert set(found["cost"]["by_label"]) <= {"beard", "glasses", "moustache"}
    people = set(pq.read_table(smoke / "private" / "dataset", filters=[("split", "=", "member")])["identity"].to_pylist())
    worst = [name for name, _ in found["cost"]["by_identity"]["worst"]]
    assert worst
    assert set(worst) <= people
    released = json.loads((smoke / "release" / "audit.json").read_text())
    assert "worst" not in released["filter"]["cost"]["by_identity"]
    for arm in whole["arms"].values():
        assert {"extraction", "attributes", "coverage"} < set(arm)
        assert arm["reid"]["power"]["words"]


def test_no_private_column_or_id_reaches_the_release(smoke: Path) -> None:
    released = pq.read_table(smoke / "release" / "data")
    assert {name.split(".")[0] for name in released.column_names} == {"id", "image", "prompt", "label"}
    ids = set(pq.read_table(smoke / "private" / "dataset")["id"].to_pylist())
    for path in (smoke / "release").rglob("*"):
        if path.suffix in {".json", ".md", ".txt"}:
            text = path.read_text()
            assert not any(name in text for name in ids), path


def test_stock_diffusers_samples_the_release_without_pd(smoke: Path, tmp_path: Path) -> None:
    script = """
import sys
sys.modules["pd"] = None  # as in an environment without it
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], local_files_only=True)
pipe.set_progress_bar_config(disable=True)
picture = pipe("a photo of a face with glasses", num_inference_steps=4, guidance_scale=1.0).images[0]
print(picture.size)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(smoke / "release" / "model")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("(32, 32)")


def test_datasets_shows_the_kept_images(smoke: Path, tmp_path: Path) -> None:
    import datasets

    shown = datasets.load_dataset(
        "parquet", data_files=str(smoke / "release" / "data" / "*.parquet"), split="train", cache_dir=str(tmp_path)
    )
    assert shown[0]["image"].size == (32, 32)
    assert len(shown) == json.loads((smoke / "release" / "audit.json").read_text())["filter"]["kept"]


def test_the_release_is_clean_and_a_planted_real_image_is_found(run: Path) -> None:
    release, dataset = run / "release", run / "private" / "dataset"
    clean = pd_here("verify", release, "--against", dataset)
    assert clean.returncode == 0, clean.stdout
    real = pq.read_table(dataset)["image"][0].as_py()["bytes"]
    shard = sorted((release / "data").glob("*.parquet"))[0]
    table = pq.read_table(shard)
    images = table["image"].to_pylist()
    images[0] = {"bytes": real, "path": images[0]["path"]}
    import pyarrow as pa

    pq.write_table(table.set_column(1, table.schema.field("image"), pa.array(images, IMAGE)), shard)
    planted = pd_here("verify", release, "--against", dataset)
    assert planted.returncode == 3
    assert "not clean" in planted.stderr
    assert "LEAK" in planted.stdout


def test_a_run_fails_on_what_was_put_into_its_release_since(run: Path) -> None:
    assert "nothing to do" in again(run).stderr
    (run / "release" / "notes.txt").write_text("s1/1.pgm looks like candidate 17")
    done = again(run)
    assert done.returncode == 3
    assert "does not belong in a release" in done.stderr
    assert again(run).returncode == 3
    (run / "release" / "notes.txt").unlink()
    assert again(run).returncode == 0


@pytest.mark.exhaustive
def test_a_changed_setting_redoes_what_depends_on_it_and_says_why(run: Path) -> None:
    teacher = digest_folder(run / "private" / "teacher")
    generated = digest_folder(run / "private" / "generated")
    done = again(run, "audit.samples=32")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "audit.samples changed from 64 to 32" in done.stderr
    ran = [line.split(":")[0] for line in done.stderr.splitlines() if ": done in" in line]
    assert ran == ["audit", "release", "report", "verify"]
    assert digest_folder(run / "private" / "teacher") == teacher
    assert digest_folder(run / "private" / "generated") == generated


def test_one_stage_alone_says_which_of_its_needs_are_not_of_these_settings(run: Path) -> None:
    done = pd_here(
        "report",
        "configs/smoke.yaml",
        *(w for item in (f"runs={run.parent}", ALL_ARMS, "audit.samples=32") for w in ("--set", item)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "`audit` is used as it is (audit.samples changed from 64 to 32)" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("student.batch=9", "student.workers=2"), "student, batch = 9: a batch of 9 does not divide among 2 workers"),
        (("student.base=nowhere/at/all",), "student, base = nowhere/at/all: no such folder"),
        (("teacher.micro_batch=7",), "teacher, micro_batch = 7: "),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_the_first_stage(tmp_path: Path, wrong: tuple[str, ...], says: str) -> None:
    done = again(tmp_path / "runs" / "smoke", *wrong)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert "ingest" not in done.stderr
    assert not (tmp_path / "runs" / "smoke").exists()


@pytest.mark.exhaustive
def test_a_lost_output_is_made_again_and_comes_out_the_same(run: Path) -> None:
    model = digest_folder(run / "release" / "model")
    audit = (run / "release" / "audit.json").read_bytes()
    shutil.rmtree(run / "private" / "generated")
    shutil.rmtree(run / "release" / "model")
    done = again(run, how=pd)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "private/generated is gone" in done.stderr
    assert digest_folder(run / "release" / "model") == model
    assert (run / "release" / "audit.json").read_bytes() == audit


@pytest.mark.exhaustive
def test_a_killed_run_goes_on_and_ends_like_an_uninterrupted_one(smoke: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = ["run", "configs/smoke.yaml", "--set", f"runs={runs}", "--set", "audit.arms=[kept, filtered]"]
    words += [word for item in SHORT_AUDIT for word in ("--set", item)]  # the release is what is compared
    for artefact in ("private/reid", "private/teacher", "private/candidates"):
        process = subprocess.Popen(
            [str(PD), *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 240
        while not (runs / "smoke" / artefact).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0)  # well inside the next stage
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = pd(*words, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert digest_folder(runs / "smoke" / "release" / "data") == digest_folder(smoke / "release" / "data")
    assert digest_folder(runs / "smoke" / "release" / "model") == digest_folder(smoke / "release" / "model")


@pytest.mark.exhaustive
def test_the_number_of_workers_changes_no_decision(smoke: Path, run: Path) -> None:
    """One worker here; `stream/test_candidates.py` has one, two and four."""

    def decisions(folder: Path) -> list[tuple[str, bool, str]]:
        table = pq.read_table(folder / "private" / "candidates", columns=["id", "keep", "reason"])
        return list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))

    shutil.rmtree(run / "private" / "generated")
    words = [word for item in (f"runs={run.parent}", "generate.workers=1") for word in ("--set", item)]
    for stage in ("generate", "filter"):
        done = pd_here(stage, "configs/smoke.yaml", *words)
        assert done.returncode == 0, done.stderr[-2000:]
    assert decisions(run) == decisions(smoke)


@pytest.mark.exhaustive
def test_a_sweep_ends_in_settings_that_pd_run_takes_as_they_are(run: Path) -> None:
    sets = ["sweep.trials=12", "sweep.steps=4", "sweep.rungs=2", "sweep.guidance=[1.5]", "audit.attackers=[thumbnails]"]
    sets += ["sweep.constraints=[kept >= 0.1]", "sweep.resamples=20"]
    done = pd_here("sweep", run, "--full", "2", *(word for item in sets for word in ("--set", item)))
    assert done.returncode == 0, done.stderr[-3000:]
    said = " ".join(done.stderr.split())
    assert "attackers learned from 5 calibration people with 5 others as strangers" in said
    assert "keep kept >= 0.1; of these, the one with the most kept is chosen" in " ".join(done.stdout.split())
    table = pq.read_table(run / "private" / "sweep" / "trials.parquet")
    kinds = table["kind"].to_pylist()
    assert kinds.count("cheap") == 12
    full = [row for row in table.to_pylist() if row["kind"] == "full"]
    assert {row["steps"] for row in full} == {2, 4}
    assert len({row["number"] for row in full}) == 2
    # The settings as they are keep what the filter kept.
    decided = pq.read_table(run / "private" / "candidates", columns=["keep"])["keep"].to_pylist()
    assert table["kept"][0].as_py() == sum(decided) / len(decided)
    # What full trials tried is not done over; the figures are the same.
    again = pd_here("sweep", run, "--full", "2", *(word for item in sets for word in ("--set", item)))
    assert again.returncode == 0, again.stderr[-3000:]
    assert pq.read_table(run / "private" / "sweep" / "trials.parquet").equals(table)
    chosen = run / "private" / "sweep" / "chosen.yaml"
    filtered = pd_here("filter", chosen, "--set", "generate.guidance=1.0", "--set", f"generate.candidates={len(decided)}")
    assert filtered.returncode == 0, filtered.stderr[-3000:]


@pytest.mark.exhaustive
def test_a_sweep_whose_constraints_no_trial_keeps_says_so(run: Path) -> None:
    sets = ["sweep.trials=3", "audit.attackers=[thumbnails]", "sweep.constraints=[kept > 1]", "sweep.resamples=20"]
    done = pd_here("sweep", run, *(word for item in sets for word in ("--set", item)))
    assert done.returncode == 2
    assert "no trial keeps the constraints" in done.stderr
    assert (run / "private" / "sweep" / "chosen.yaml").exists()
