"""What a user types, and what comes back: exit codes, one clear line, nothing half-written."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from terminal import ROOT, pd, pd_here

from pd.engine.dashboard import FILE as DASHBOARD
from pd.pipeline import lock
from pd.store.atomic import write_json
from pd.store.run import Run

COMMANDS = ["run", "submit", "plan", "init", "status", "ingest", "reid", "teacher", "generate", "filter", "student"]
COMMANDS += ["audit", "fingerprint", "sweep", "report", "compare", "verify", "push", "doctor"]
WHOLE = {"missing settings", "an unknown option"}  # through the program itself, whose name the second says


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    done = pd_here(command, "--help")
    assert done.returncode == 0
    assert f"pd {command}" in done.stdout.split("Example", 1)[1]


def test_init_writes_a_file_that_run_understands_and_keeps_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "pd.yaml"
    assert pd_here("init", path).returncode == 0
    text = path.read_text()
    assert "steps: 900  # optimiser steps" in text
    again = pd_here("init", path)
    assert again.returncode == 2
    assert "there is such a file already" in again.stderr
    assert path.read_text() == text


def folder_of_people(root: Path, people: int, images: int = 2) -> Path:
    for person in range(people):
        (root / f"p{person}").mkdir(parents=True)
        for image in range(images):
            Image.new("L", (40, 40), person * 20 + image).save(root / f"p{person}" / f"{image}.png")
    return root


def bad_inputs(tmp: Path) -> dict[str, tuple[list[object], str]]:
    """name -> (words after `pd`, what the line must say)."""
    good = folder_of_people(tmp / "good", 8)
    (tmp / "empty").mkdir()
    corrupt = folder_of_people(tmp / "corrupt", 8)
    (corrupt / "p3" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    manifest = tmp / "m.csv"
    manifest.write_text("path,person\ngood/p0/0.png,a\n")
    outside = tmp / "o.csv"
    outside.write_text("path,identity\n../secret.png,a\n")
    twice = tmp / "twice.yaml"
    twice.write_text("seed: 1\nseed: 2\n")
    run = ["run", "configs/smoke.yaml", "--set", f"runs={tmp / 'runs'}"]

    def data(reader: str, path: Path) -> list[object]:
        return [*run, "--set", f"data.reader={reader}", "--set", f"data.path={path}"]

    return {
        "missing settings": (["run", tmp / "none.yaml"], "no such settings file"),
        "unknown key": ([*run, "--set", "teacher.stepz=3"], "did you mean 'teacher.steps'"),
        "wrong value": ([*run, "--set", "teacher.steps=many"], "teacher.steps = 'many'"),
        "missing folder": (data("folder", tmp / "none"), "none"),
        "no path": ([*run, "--set", "data.reader=folder"], "data.path"),
        "empty folder": (data("folder", tmp / "empty"), "empty"),
        "one identity": (data("folder", folder_of_people(tmp / "one", 1)), "identit"),
        "corrupt image": (data("folder", corrupt), "p3/1.png"),
        "missing column": (data("manifest", manifest), "identity"),
        "path outside": (data("manifest", outside), "o.csv"),
        "stage out of order": (["student", *run[1:]], "`student` needs `ingest`"),
        "filter without out": (["filter", "--real", good, "--synthetic", good], "--out"),
        "filter of nothing": (["filter"], "give a settings file"),
        "audit of half": (["audit", "--real", good], "--synthetic"),
        "a limit of nothing": (
            ["audit", "--real", good, "--synthetic", good, "--fail-above", "exces=1"],
            "write one of excess",
        ),
        "a limit for a run": (["audit", *run[1:], "--fail-above", "excess=1"], "limits are for images, not for runs"),
        "figures of a run elsewhere": (["audit", *run[1:], "--out", tmp / "x.json"], "a run has its own place for figures"),
        "synthetic empty": (["filter", "--real", good, "--synthetic", tmp / "empty", "--out", tmp / "out"], "empty"),
        "no release": (["verify", tmp / "none"], "no such folder"),
        "a folder that is no release": (["verify", good], "no release in this folder"),
        "foreign images missing": (
            ["filter", "--real", good, "--synthetic", tmp / "none", "--out", tmp / "out"],
            "no such folder",
        ),
        "credentials in a URL": (
            ["filter", "--real", good, "--synthetic", "s3://key:hush@bucket/x", "--out", tmp / "out"],
            "do not belong in a URL",
        ),
        "figures into a folder": (["audit", "--real", good, "--synthetic", good, "--out", good], "name a file"),
        "a folder for settings": (["ingest", good], "name a YAML file"),
        "a key twice": (["ingest", twice], "'seed' stands twice"),
        "runs among the images": ([*data("folder", good), "--set", f"runs={good}"], "among the images"),
        "an unknown option": (["run", "--stes"], "`pd run --help`"),
        "a place that cannot be": ([*run, "--set", "runs=/dev/null/x"], "/dev/null"),
        "no job server": (
            ["submit", "configs/smoke.yaml", "--set", "cluster.address=http://127.0.0.1:9"],
            "no Ray job server answers",
        ),
        "nodes' port for the job server's": (
            ["submit", "configs/smoke.yaml", "--set", "cluster.address=127.0.0.1:9"],
            "write http://HOST:8265",
        ),
        "a job that no command does": (["submit", "configs/smoke.yaml", "--stage", "arms"], "no job does 'arms'"),
        "a part of a GPU for two": (
            [*run, "--set", "teacher.workers=2", "--set", "teacher.gpus_per_worker=0.5"],
            "NCCL refuses that",
        ),
        "a GPU and a half": ([*run, "--set", "generate.gpus_per_worker=1.5"], "a part of one GPU"),
        "a slash short": ([*run, "--set", "runs=s3:/bucket/runs"], "a slash is missing. write s3://bucket/runs"),
        "figures in a bucket": (
            ["audit", "--real", str(tmp / "empty"), "--synthetic", str(tmp / "empty"), "--out", "s3://bucket/a.json"],
            "--out: this cannot lie in a bucket",
        ),
        "decisions in a bucket": (
            ["filter", "--real", str(tmp / "empty"), "--synthetic", str(tmp / "empty"), "--out", "s3://bucket/out"],
            "--out: this cannot lie in a bucket",
        ),
        "synthetic images a slash short": (
            ["filter", "--real", str(tmp / "empty"), "--synthetic", "s3:/bucket/made", "--out", str(tmp / "out")],
            "a slash is missing. write s3://bucket/made",
        ),
        "status of nothing": (["status", tmp / "empty"], "no run in this folder"),
    }


def test_bad_input_is_one_clear_line_and_exit_code_2(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for name, (words, says) in bad_inputs(tmp_path).items():
        with subtests.test(name):
            done = (pd if name in WHOLE else pd_here)(*words)
            assert done.returncode == 2, done.stderr[-2000:]
            lines = [line for line in done.stderr.splitlines() if line.startswith("pd: ")]
            assert len(lines) == 1
            assert says in lines[0]
            assert "Traceback" not in done.stderr
            assert "hush" not in done.stdout + done.stderr
            assert not (tmp_path / "out").exists()
            assert not (tmp_path / "runs" / "smoke").exists()  # nothing of a run that never began


def test_a_run_is_not_lost_to_other_images_of_the_same_name(tmp_path: Path) -> None:
    words = ["ingest", "configs/smoke.yaml", "--set", f"runs={tmp_path / 'runs'}", "--set", "data.reader=folder"]
    first, second = folder_of_people(tmp_path / "first", 8), folder_of_people(tmp_path / "second", 8)
    assert pd_here(*words, "--set", f"data.path={first}").returncode == 0
    shard = tmp_path / "runs" / "smoke" / "private" / "dataset" / "part-00000.parquet"
    before = shard.stat().st_mtime_ns
    other = pd_here(*words, "--set", f"data.path={second}")
    assert other.returncode == 2
    assert "choose another `name`" in other.stderr
    assert shard.stat().st_mtime_ns == before


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    done = pd_here("run", "configs/smoke.yaml", "--set", "teacher.\x1b[31m=1")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr


def test_a_traceback_only_with_debug(tmp_path: Path) -> None:
    assert "Traceback" not in pd("run", tmp_path / "none.yaml").stderr
    debugged = pd("run", tmp_path / "none.yaml", "--debug")
    assert "Traceback" in debugged.stderr
    assert debugged.returncode == 2


def test_a_run_named_like_a_person_of_it_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    done = pd_here("run", "configs/smoke.yaml", "--set", f"runs={tmp_path}", "--set", "name=s3")
    assert done.returncode == 2
    assert "'s3' is the name of a person of the data, and stands in the release" in done.stderr
    assert not (tmp_path / "s3").exists()


def test_the_project_names_no_path_of_a_machine() -> None:
    found = [
        path
        for folder in ("src", "configs", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".json", ".md"} and os.sep + "work" + os.sep + "main" in path.read_text()
    ]
    assert not found


def test_status_shows_rays_dashboard_while_somebody_works_on_a_run(tmp_path: Path) -> None:
    words = ["ingest", "configs/smoke.yaml", "--set", f"runs={tmp_path}"]
    assert pd_here(*words).returncode == 0
    run = Run(tmp_path / "smoke")
    write_json(run.work / DASHBOARD, {"job": "http://127.0.0.1:8265/#/jobs/one"})
    assert "8265" not in pd_here("status", run.root).stdout  # whose work is over
    with lock(run):
        assert "job on Ray's dashboard: http://127.0.0.1:8265/#/jobs/one" in pd_here("status", run.root).stdout


def test_a_stage_leaves_events(tmp_path: Path) -> None:
    pd_here("ingest", "configs/smoke.yaml", "--set", f"runs={tmp_path}")
    lines = [json.loads(line) for line in (tmp_path / "smoke" / "work" / "events.jsonl").read_text().splitlines()]
    assert {line["run"] for line in lines} == {"smoke"}
    facts = next(line for line in lines if line["event"] == "facts")
    assert (facts["stage"], facts["images.member"]) == ("ingest", 200)
    assert str(tmp_path) not in json.dumps(lines)
