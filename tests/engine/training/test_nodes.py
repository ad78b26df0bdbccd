"""Machines that go while a training runs: announced, and not."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ray.cluster_utils import Cluster
from small_training import apart, job_folder, records, resumed_at, settings, train, weights
from torch import Tensor
from two_nodes import two_nodes

STEPS = {"steps": 300, "batch": 16, "cpus_per_worker": 1, "zero_stage": 2}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(folder, settings(checkpoint_every=10**6, **STEPS))
    return weights(folder / "out")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1")  # pd switches it off on a cluster of its own
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
    with two_nodes() as made:
        yield made


def at_step(folder: Path, step: int) -> None:
    """Wait until a training is there."""
    while not any(record["step"] >= step and "loss" in record for record in told(folder)):
        time.sleep(0.1)


def told(folder: Path) -> list[dict[str, float]]:
    try:
        return records(folder)
    except (OSError, ValueError):  # not there yet, or a line half written
        return []


def checkpoints(folder: Path) -> list[int]:
    """Steps of the checkpoints that are there."""
    found = job_folder(folder).glob("checkpoint_*/client.json")
    return sorted(int(json.loads(path.read_text())["step"]) for path in found)


@pytest.mark.exhaustive
def test_a_notice_of_preemption_leads_to_a_checkpoint(cluster: Cluster, undisturbed: dict[str, Tensor], tmp_path: Path) -> None:
    kept: list[int] = []

    def announce() -> None:
        at_step(tmp_path, 20)
        drain = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", cluster.address]
        drain += ["--node-id", next(iter(cluster.worker_nodes)).node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
        drain += ["--reason-message", "a test", "--deadline-remaining-seconds", "60"]
        subprocess.run(drain, check=True, capture_output=True)
        while not kept:
            time.sleep(0.05)
            kept.extend(checkpoints(tmp_path))

    threading.Thread(target=announce, daemon=True).start()
    train(tmp_path, settings(workers=[1, 2], checkpoint_every=10**6, **STEPS))
    assert kept, "no checkpoint before the end"
    assert 20 <= kept[0] < STEPS["steps"]
    assert apart(weights(tmp_path / "out"), undisturbed) < 1e-3


@pytest.mark.exhaustive
def test_a_node_that_dies_takes_no_step_with_it(cluster: Cluster, undisturbed: dict[str, Tensor], tmp_path: Path) -> None:
    def kill() -> None:
        while not (tmp_path / "work").exists() or not checkpoints(tmp_path):
            time.sleep(0.1)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    threading.Thread(target=kill, daemon=True).start()
    train(tmp_path, settings(workers=[1, 2], checkpoint_every=50, **STEPS))
    assert resumed_at(tmp_path)
    assert resumed_at(tmp_path)[0] >= 50
    assert apart(weights(tmp_path / "out"), undisturbed) < 1e-3
    assert torch.isfinite(torch.cat([value.flatten() for value in weights(tmp_path / "out").values()])).all()
