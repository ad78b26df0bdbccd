"""What `pd plan` reckons from rates, and that a probe measures them."""

import json
from dataclasses import replace

import pytest
from terminal import pd

from pd.config import parse_settings
from pd.engine.probe import Rates, Training, _busy
from pd.stages.plan import Need, as_json, needs_table, plan

RATES = Rates(
    hardware="a machine",
    cores=4,
    gpu=True,
    images=7200,
    decoded=200.0,
    image_bytes=1000.0,
    reid=100.0,
    teacher=Training(50.0, 1_000_000),
    student=Training(50.0, 1_000_000),
    sampled=20.0,
    sampled_here=2.0,
    scored=20.0,
    candidate_bytes=2000.0,
    why={},
)
MODEL = {"steps": 3600, "batch": 100, "workers": 2, "gpus_per_worker": 1}
SETTINGS = parse_settings(
    {
        "teacher": MODEL,
        "student": MODEL,
        "generate": {"candidates": 36000, "workers": 4, "gpus_per_worker": 0.5},
        "audit": {"arms": ["teacher", "unfiltered", "kept", "filtered"], "samples": 3600, "shadows": 0},
    }
)


def by_stage(needs: list[Need]) -> dict[str, Need]:
    return {need.stage: need for need in needs}


def test_work_over_rate_shared_by_workers() -> None:
    needs = by_stage(plan(SETTINGS, RATES))
    teacher = needs["teacher"]
    assert (teacher.images, teacher.device, teacher.workers) == (360_000, "gpu", 2)
    assert (teacher.device_hours, teacher.hours) == pytest.approx((2.0, 1.0))
    generate = needs["generate"]
    assert generate.rate == pytest.approx(10.0)  # sampled, then scored
    assert (generate.device_hours, generate.hours) == pytest.approx((0.5, 0.25))  # four workers on two GPUs
    assert generate.bytes == 72e6
    assert needs["arm unfiltered"] == replace(needs["student"], stage="arm unfiltered")
    assert needs["audit"].images == 7200
    assert needs["audit"].device_hours == pytest.approx(
        4.0
    )  # two arms, of which nobody has samples, on four cores; the released data are there


def test_shadow_models_are_trainings_and_an_autoencoder_that_is_fitted_is_named() -> None:
    settings = parse_settings({"teacher": {**MODEL, "autoencoder": "train"}, "audit": {"shadows": 16}})
    needs = by_stage(plan(settings, RATES))
    assert needs["shadows"].images == 16 * needs["teacher"].images
    assert needs["shadows"].device_hours == pytest.approx(32.0)
    assert needs["shadows"].bytes == needs["teacher"].bytes + 15 * 4e6  # each keeps its weights, one its checkpoints
    caption = str(needs_table(settings, RATES, list(needs.values())).caption)
    assert "the fitting of an autoencoder before each training (teacher)" in caption
    assert "shadows" not in by_stage(plan(SETTINGS, RATES))
    assert "autoencoder" not in str(needs_table(SETTINGS, RATES, plan(SETTINGS, RATES)).caption)


def test_without_a_gpu_hours_are_of_cores_and_what_is_not_known_is_named() -> None:
    poor = replace(RATES, gpu=False, teacher=Training(None, 10**9, "it takes 16 GB"), why={"teacher": "it takes 16 GB"})
    needs = plan(SETTINGS, poor)
    found = as_json(SETTINGS, poor, needs)
    assert found["unknown"] == ["teacher", "filter"]
    assert by_stage(needs)["teacher"].why == "it takes 16 GB"
    assert found["total"]["gpu_hours"] == 0
    student = by_stage(needs)["student"]
    assert (student.device, student.device_hours) == ("core", pytest.approx(8.0))


def test_a_busy_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for load, said in ((1.9, ""), (42.0, ", busy with other work (load 42), so slower than it can be")):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert _busy(2) == said


@pytest.mark.exhaustive
def test_the_probe_measures_every_stage_of_a_run() -> None:
    done = pd("plan", "configs/smoke.yaml", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["unknown"] == ["filter"]
    assert found["measured"]["images"] == 400
    assert found["measured"]["candidate_bytes"] > 200
    for need in found["stages"]:
        assert need["stage"] == "filter" or need["rate"] > 0
    assert found["total"]["hours"] < 1


def test_the_formal_model_is_counted() -> None:
    small = {"steps": 10, "batch": 4}
    tree = {"steps": 5, "batch": 8, "noise_draws": 2, "model": small}
    of = {
        name: by_stage(plan(parse_settings({"formal": {**tree, **more}}), RATES))["formal"].images
        for name, more in {
            "dp_sgd": {},
            "twin": {"canaries": 10},
            "student": {"method": "dp_sad", "student_steps": 3},
            "ensemble": {"method": "dp_sad", "teacher": "ensemble", "teachers": 3},
        }.items()
    }
    assert of == {
        "dp_sgd": 5 * 8 * 2 + 40,
        "twin": 2 * (5 * 8 * 2 + 40),
        "student": 5 * 8 * 2 + 40 + 12,
        "ensemble": 3 * 40 + 20,
    }
