"""pd as a submitted job: where its run lies, where workers find pd, what is told of the dashboard."""

import json
import os
from pathlib import Path

import pytest
from terminal import ROOT

from pd.cli.app import settings_of_run
from pd.config import Settings, parse_settings
from pd.config.mirrored import PLAIN_UPLOADS
from pd.engine.dashboard import FILE, note_dashboard
from pd.engine.runtime import _runtime_env
from pd.engine.submitted_job import given_environment, lift_thread_limit, search_path, settle, submission_id


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home of a job that says that it is one."""
    told = {"runtime_env": {"env_vars": {"OMP_WAIT_POLICY": "ACTIVE"}}, "metadata": {"job_submission_id": "raysubmit_1"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(told))
    monkeypatch.setenv("PD_HOME", str(tmp_path))
    return tmp_path


def test_outside_of_a_job_nothing_changes() -> None:
    settings = Settings()
    assert settle(settings) is settings
    assert submission_id() is None
    assert given_environment() == set()


def test_in_a_job_relative_paths_are_below_the_shared_home_and_absolute_ones_stay(job: Path) -> None:
    there = {"data": {"reader": "folder", "path": "people"}}
    settings = settle(parse_settings(there))
    assert settings.run_dir == job / "runs" / "faces"
    assert settings.data.path == job / "people"
    assert settings.digest() == settle(settings).digest()
    absolute = settle(parse_settings({"runs": "/elsewhere", "data": {"reader": "folder", "path": "/people"}}))
    assert (absolute.runs, absolute.data.path) == (Path("/elsewhere"), Path("/people"))
    assert submission_id() == "raysubmit_1"


def test_in_a_job_weights_and_bases_that_are_there_are_below_the_shared_home(job: Path) -> None:
    for name in ("sd", "tower.safetensors"):
        (job / name).touch()
    given = {
        "teacher": {"base": "sd"},
        "student": {"base": "owner/name"},
        "reid": {"backbone": "open_clip:ViT-B-32", "weights": "tower.safetensors"},
        "tracking": {"mlflow": "figures"},
        "labels": {"votes": "votes.csv"},
        "audit": {
            "adherence": "open_clip:ViT-B-32/tower.safetensors",
            "attackers": [
                "imagenet",
                "open_clip:ViT-B-32/laion2b_s34b_b79k",
                "torchvision:resnet18/tower.safetensors",
                "timm:resnet18/tower.safetensors",
                "network:runs/other/private/reid",
                "onnx:/net.onnx",
            ],
            "features": "timm:resnet18/tower.safetensors",
        },
    }
    settings = settle(parse_settings(given))
    assert (settings.teacher.base, settings.student.base) == (f"{job}/sd", "owner/name")
    assert settings.reid.weights == f"{job}/tower.safetensors"
    assert settings.audit.adherence == f"open_clip:ViT-B-32/{job}/tower.safetensors"
    assert settings.audit.attackers == (
        "imagenet",
        "open_clip:ViT-B-32/laion2b_s34b_b79k",
        f"torchvision:resnet18/{job}/tower.safetensors",
        f"timm:resnet18/{job}/tower.safetensors",
        f"network:{job}/runs/other/private/reid",
        "onnx:/net.onnx",
    )
    assert settings.audit.features == f"timm:resnet18/{job}/tower.safetensors"
    assert settings.labels is not None
    assert settings.labels.votes == job / "votes.csv"
    assert settings.tracking.mlflow == f"{job}/figures"
    assert settle(settings) == settings
    server = settle(parse_settings({"reid": {"weights": "openai"}, "tracking": {"mlflow": "http://host:5000"}}))
    assert (server.reid.weights, server.tracking.mlflow) == ("openai", "http://host:5000")


def test_a_sweep_finds_the_run_of_a_settings_file_where_a_job_keeps_runs(job: Path) -> None:
    assert settings_of_run(ROOT / "configs" / "smoke.yaml").run_dir == job / "runs" / "smoke"


def test_workers_of_a_job_find_submitted_code_where_they_start(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pd

    package = Path(pd.__file__).resolve().parents[1]
    monkeypatch.chdir(package.parent)
    for name, value in PLAIN_UPLOADS.items():  # as `connect` has set them
        monkeypatch.setenv(name, value)
    assert search_path() == [package.name]
    assert _runtime_env() == {
        "env_vars": {"PYTHONPATH": package.name, **PLAIN_UPLOADS}
    }  # the other one was given by who submitted
    monkeypatch.chdir(job)
    assert search_path() == []  # installed: nothing to say


def test_a_jobs_driver_computes_on_all_of_its_machine(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # by Ray
    quota = job / "cpu.max"
    quota.write_text("max 100000\n")
    monkeypatch.setattr("pd.engine.submitted_job.QUOTA", quota)
    lift_thread_limit()
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    quota.write_text("400000 100000\n")
    lift_thread_limit()
    assert os.environ["OMP_NUM_THREADS"] == "4"
    lift_thread_limit()
    assert os.environ["OMP_NUM_THREADS"] == "4"
    told = {"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}}}  # by the user
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(told))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lift_thread_limit()
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_the_dashboards_pages_are_kept_and_forgotten(job: Path) -> None:
    note_dashboard(job, "127.0.0.1:8265")
    assert json.loads((job / FILE).read_text())["job"] == "http://127.0.0.1:8265/#/jobs/raysubmit_1"
    note_dashboard(job, None)
    assert not (job / FILE).exists()
