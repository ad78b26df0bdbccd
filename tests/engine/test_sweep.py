"""Tune really kills, restores, and stops what is poor."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from pd.engine.runtime import connect
from pd.engine.sweep import RECORDS, climb, run_grid
from pd.errors import UserError
from pd.progress import silent

SCRIPT = Path(__file__).with_name("sweep_script.py")


def run(folder: Path, trials: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(trials)])


def records(folder: Path) -> int:
    return len(list((folder / "sweep" / RECORDS).glob("*.json")))


def ran(folder: Path) -> Counter[str]:
    return Counter((folder / "log").read_text().split())


@pytest.mark.exhaustive
def test_a_killed_sweep_goes_on_and_runs_no_finished_trial_again(tmp_path: Path) -> None:
    driver = run(tmp_path, 60)
    deadline = time.monotonic() + 120
    while records(tmp_path) < 20 and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()  # SIGKILL
    driver.wait()
    psutil.wait_procs(family, timeout=60)  # Ray's processes die with their driver
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep" / RECORDS).glob("*.json")}
    assert 20 <= len(finished) < 60
    assert run(tmp_path, 60).wait(timeout=120) == 0
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    assert records(tmp_path) == 60
    again = [at for at, times in ran(tmp_path).items() if times > 1]
    assert len(again) <= 2  # those that two workers were at when they were killed
    more = run(tmp_path, 64)
    assert more.wait(timeout=120) == 0
    assert sum(ran(tmp_path).values()) == 64 + len(again)


def fails(shared: None, config: Mapping[str, Any], rung: int) -> dict[str, Any]:
    raise UserError("this trial is bad", where="here")


def test_an_error_of_a_trial_comes_home_as_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="here: this trial is bad"):
        run_grid(fails, None, [{"at": 0}], tmp_path / "sweep", cpus=1, address=None, progress=silent)
    assert not list((tmp_path / "sweep" / RECORDS).glob("*.json"))


def breaks_once(folder: Path, config: Mapping[str, Any], rung: int) -> dict[str, Any]:
    with (folder / "log").open("a") as file:
        file.write(f"{config['at']}\n")
    if config["at"] == 1 and not (folder / "mended").exists():
        raise UserError("this trial is bad", where="here")
    return {"value": config["at"]}


@pytest.mark.exhaustive
def test_of_a_sweep_with_a_failed_trial_that_one_alone_is_run_again(tmp_path: Path) -> None:
    configs = [{"at": at} for at in range(4)]

    def sweep() -> list[Mapping[str, Any]]:
        return run_grid(breaks_once, tmp_path, configs, tmp_path / "sweep", cpus=1, address=None, progress=silent)

    with pytest.raises(UserError, match="this trial is bad"):
        sweep()
    assert ran(tmp_path) == Counter("0123")
    (tmp_path / "mended").touch()
    assert sweep() == [{"value": at} for at in range(4)]
    assert ran(tmp_path) == Counter("01123")
    assert len(list((tmp_path / "sweep").glob("grid-*"))) == 1  # Tune went on with its experiment: it began no other


def steps_up(shared: list[int], config: Mapping[str, Any], rung: int) -> dict[str, Any]:
    return {"steps": shared[rung], "merit": config["x"], "kind": config["kind"]}


@pytest.mark.exhaustive
def test_poor_trials_are_stopped_by_steps_and_a_second_call_climbs_nothing_again(tmp_path: Path) -> None:
    connect()
    cpus = ray.cluster_resources()["CPU"]  # one after the other, so that it is known who is compared with whom
    steps = [10, 20, 40]
    first = [{"x": 0.9, "kind": "a"}, {"x": 0.1, "kind": "b"}]
    arguments: dict[str, Any] = {
        "trials": 4, "steps": steps, "cpus": cpus, "gpus": 0, "seed": 3, "address": None, "progress": silent,
    }  # fmt: skip
    found, searcher = climb(steps_up, steps, {"x": (0.0, 0.8), "kind": ["a", "b"]}, first, tmp_path, **arguments)
    by_trial = Counter(json.dumps(one["config"], sort_keys=True) for one in found)
    assert len(by_trial) == 4
    assert {one["config"]["x"] for one in found} >= {0.9, 0.1}
    assert by_trial[json.dumps(first[0], sort_keys=True)] == 3
    assert by_trial[json.dumps(first[1], sort_keys=True)] == 1
    assert "Optuna" in searcher
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / RECORDS).iterdir()}
    again, _ = climb(steps_up, steps, {"x": (0.0, 0.8), "kind": ["a", "b"]}, first, tmp_path, **arguments)
    assert again == found
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / RECORDS).iterdir()} == before


def test_a_folder_that_others_can_write_to_is_not_unpickled(tmp_path: Path) -> None:
    (tmp_path / "sweep" / "grid-0").mkdir(parents=True)
    (tmp_path / "sweep" / "grid-0").chmod(0o777)
    with pytest.raises(UserError, match="not this user's alone"):
        run_grid(fails, None, [{"at": 0}], tmp_path / "sweep", cpus=1, address=None, progress=silent)
