"""Waiting for machines that an autoscaler starts, and whether all of them see the run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from two_nodes import two_nodes

from pd.config import ClusterSettings, ModelSettings, parse_settings
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.engine import full_trials, shadows
from pd.engine import machines as module
from pd.engine.machines import machines, machines_for, room
from pd.engine.shared_folder import check_shared
from pd.errors import UserError
from pd.progress import Reporter, silent
from pd.store.context import Context
from pd.store.run import Run

STORE = 2**27


class Autoscaler:
    """A cluster that has its first GPU machine when it was looked at so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.asked: list[list[dict[str, float]]] = []
        self.looks, self.after = 0, after
        self.head: dict[str, Any] = {"Alive": True, "Resources": {"CPU": 64.0}}
        monkeypatch.setattr(ray, "nodes", self.nodes)
        monkeypatch.setattr("ray.autoscaler.sdk.request_resources", lambda bundles: self.asked.append(bundles))
        monkeypatch.setattr(module, "LOOK_S", 0.0)

    def nodes(self) -> list[dict[str, Any]]:
        self.looks += 1
        return [self.head, {"Alive": self.looks > self.after, "Resources": {"CPU": 8.0, "GPU": 4.0}}]


def test_gpus_are_asked_for_waited_for_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Autoscaler(monkeypatch, after=3)
    told: list[tuple[int, int]] = []
    with machines(ClusterSettings(wait_minutes=1), 4, 1.0, lambda done, total, info: told.append((done, total))):
        assert cluster.asked == [[{"CPU": 1, "GPU": 1.0}] * 4]
    assert cluster.asked[1:] == [[]]
    assert told == [(0, 4)] * 3


def test_a_training_asks_for_the_cpus_of_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers with eight CPUs each do not fit on one machine of eight, and preflight would refuse them there."""
    cluster = Autoscaler(monkeypatch, after=10**9)
    cluster.head = {"Alive": True, "Resources": {"CPU": 8.0}}
    model = ModelSettings.model_validate({"workers": 2, "cpus_per_worker": 8})
    told: list[tuple[int, int]] = []
    with machines_for(ClusterSettings(wait_minutes=0.001), model, lambda done, total, info: told.append((done, total))):
        assert cluster.asked == [[{"CPU": 8.0}] * 2]
    assert set(told) == {(1, 2)}
    here = Autoscaler(monkeypatch, after=0)
    with machines_for(ClusterSettings(wait_minutes=1), ModelSettings(workers=0), silent):
        assert not here.asked  # it trains in this process


def test_shadow_models_and_full_trials_keep_the_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without it an autoscaler takes idle machines away, and the audit ends after hours for want of them."""
    asked: list[tuple[object, ...]] = []

    @contextlib.contextmanager
    def noted(*arguments: object) -> Iterator[None]:
        asked.append(arguments)
        yield

    def nothing(*_: object, **__: object) -> None: ...

    settings = parse_settings({"audit": {"shadows": 2}, "cluster": {"wait_minutes": 1}, "sweep": {"cpus_per_trial": 3}})
    context = Context(settings, Run(tmp_path), Reporter())
    ingest(settings.data, 7, tmp_path / "dataset", silent)
    for stage in (shadows, full_trials):
        monkeypatch.setattr(stage, "connect", nothing)
    monkeypatch.setattr(shadows, "train_model", nothing)
    monkeypatch.setattr(shadows, "machines_for", noted)
    monkeypatch.setattr(shadows, "machines", noted)
    monkeypatch.setattr(shadows, "side_by_side", nothing)
    assert len(list(shadows.shadow_models(context, PrivateDataset.read(tmp_path / "dataset")))) == 2
    assert asked.pop(0)[:2] == (settings.cluster, 2)  # side by side, and then one after another
    assert [cluster for cluster, *_ in asked] == [settings.cluster] * 2
    asked.clear()
    monkeypatch.setattr(full_trials, "machines", noted)
    monkeypatch.setattr(full_trials, "choices", lambda settings, full: {"candidates": [1], "guidance": [], "prompt_k": []})
    monkeypatch.setattr(full_trials, "_best", nothing)
    monkeypatch.setattr(full_trials, "climb", lambda *_, **__: ([], ""))
    full_trials.full_trials(context, None, None, [], tmp_path)  # type: ignore[arg-type]
    assert [(one[0], one[1], one[2], one[4]) for one in asked] == [(settings.cluster, 1, 0, 3)]


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
    assert room(nodes, 0.0, 8.0) == 8 + 0 + 1
    assert room(nodes, 1.0, 0.5) == 4 + 1


def test_a_single_machine_is_not_asked_whether_it_sees_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "NodeID": "0"}])
    check_shared(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.exhaustive
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
