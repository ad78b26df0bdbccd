"""Waiting for machines that an autoscaler starts, and whether all of them see the run."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import ray
from two_nodes import two_nodes

from pd.config import ClusterSettings
from pd.engine import machines as module
from pd.engine.machines import machines, room
from pd.engine.shared_folder import check_shared
from pd.errors import UserError
from pd.progress import silent

STORE = 2**27


class Autoscaler:
    """A cluster that has its first GPU machine when it was looked at so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.asked: list[list[dict[str, float]]] = []
        self.looks, self.after = 0, after
        monkeypatch.setattr(ray, "nodes", self.nodes)
        monkeypatch.setattr("ray.autoscaler.sdk.request_resources", lambda bundles: self.asked.append(bundles))
        monkeypatch.setattr(module, "LOOK_S", 0.0)

    def nodes(self) -> list[dict[str, Any]]:
        self.looks += 1
        head = {"Alive": True, "Resources": {"CPU": 64.0}}
        return [head, {"Alive": self.looks > self.after, "Resources": {"CPU": 8.0, "GPU": 4.0}}]


def test_gpus_are_asked_for_waited_for_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Autoscaler(monkeypatch, after=3)
    told: list[tuple[int, int]] = []
    with machines(ClusterSettings(wait_minutes=1), 4, 1.0, lambda done, total, info: told.append((done, total))):
        assert cluster.asked == [[{"CPU": 1, "GPU": 1.0}] * 4]
    assert cluster.asked[1:] == [[]]
    assert told == [(0, 4)] * 3


def test_they_are_let_go_after_an_error_and_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Autoscaler(monkeypatch, after=10**9)
    with contextlib.suppress(ValueError), machines(ClusterSettings(wait_minutes=0.001), 1, 1.0, silent):
        raise ValueError
    assert cluster.asked[-1] == []


def test_nobody_is_asked_without_a_time_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Autoscaler(monkeypatch, after=0)
    with machines(ClusterSettings(), 4, 1.0, silent):
        pass
    assert (cluster.asked, cluster.looks) == ([], 0)


def test_room_is_on_machines_that_have_both() -> None:
    nodes = [{"CPU": 64.0}, {"CPU": 2.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}]
    assert room(nodes, 1.0) == 3
    assert room(nodes, 0.25) == 2 + 4
    assert room(nodes, 0.0) == 74


def test_a_single_machine_is_not_asked_whether_it_sees_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "NodeID": "0"}])
    check_shared(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_nodes_that_do_not_see_a_folder_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with two_nodes():
        _counts(tmp_path, monkeypatch)


def _counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_shared(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"3 of the cluster's 3 machines do not see this folder\. set `runs`"):
        check_shared(Path("/proc/self/cwd"))  # every process sees another one there
    assert not list(tmp_path.iterdir())
