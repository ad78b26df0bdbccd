"""What the answers of machines mean, without any."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pd.config import Settings, parse_settings
from pd.doctor import cluster, machines
from pd.doctor.finding import Finding, bounded
from pd.doctor.node import Node, Questions, look_here
from pd.doctor.storage import storage
from pd.engine.nodes import Answer
from pd.errors import UserError

GOOD = Node(
    name="a", clock=0.0, python="3.11.2", versions={"ray": "2.60.0", "torch": "2.15.0"}, free=2**40, total=2**41, shared=2**33
)


def states(found: list[Finding]) -> list[str]:
    return [one.state for one in found]


def settings(**sections: object) -> Settings:
    return parse_settings(sections, where="here")


def test_a_machine_answers_for_itself(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    node = look_here(Questions(sign=sign))
    assert node.sees is False
    sign.touch()
    assert look_here(Questions(sign=sign)).sees
    assert {"ray", "torch", "numpy"} <= set(node.versions)
    assert 0 < node.free <= node.total
    assert abs(node.clock - time.time()) < 60


def test_little_disk_or_shared_memory_is_told_by_the_machines_name() -> None:
    assert states(machines.disk_and_memory([GOOD])) == ["ok", "ok"]
    small = replace(GOOD, name="b", shared=2**26)
    full = replace(GOOD, name="c", free=2**34, total=2**40)  # 16 GiB, and yet Ray spills nothing there
    found = machines.disk_and_memory([GOOD, small, full])
    assert [(one.check, one.state) for one in found] == [("disk", "todo"), ("shared memory", "todo")]
    assert found[0].says.startswith("c: 16.0 GiB")
    assert found[1].says == "b: /dev/shm has 64 MiB"
    assert states(machines.disk_and_memory([replace(GOOD, shared=None)])) == ["ok", "left out"]


def test_other_versions_and_clocks() -> None:
    other = replace(GOOD, name="b", python="3.12.1", versions={"ray": "2.61.0"})
    assert states(machines.versions([GOOD], GOOD)) == ["ok"]
    (found,) = machines.versions([GOOD, other], GOOD)
    assert found.says == "b: Python 3.12.1 (here 3.11.2), ray 2.61.0 (here 2.60.0), torch none (here 2.15.0)"
    assert states(machines.clocks([GOOD, GOOD], [0.2, -3])) == ["ok"]
    (found,) = machines.clocks([GOOD, other], [0.2, 4000])
    assert found.says == "b: +4000 s beside this machine's clock"


def test_gpus_that_are_there_seen_handed_out_and_asked_for() -> None:
    eight = replace(GOOD, gpus=8, gpus_used=8)
    wants = settings(teacher={"gpus_per_worker": 1})
    assert states(machines.gpus([GOOD], 0, settings())) == ["ok"]
    assert states(machines.gpus([eight], 8, wants)) == ["ok"]
    assert machines.gpus([GOOD], 0, wants)[0].says == "teacher.gpus_per_worker ask for GPUs, and there is none"
    assert machines.gpus([replace(eight, gpus_used=0)], 8, wants)[0].says == "a: torch sees 0 of 8"
    assert machines.gpus([eight], 4, wants)[0].says == "Ray hands out 4 of 8"
    assert states(machines.gpus([eight], 0, wants)) == ["todo", "todo"]


def test_ways_to_this_process_and_to_where_runs_lie() -> None:
    asked = Questions(door=("10.0.0.1", 1), sign=Path("/shared/.seen"), bucket=("s3://b/runs", ".doctor/x"))
    seen = replace(GOOD, sees=True)
    assert states(machines.ways([seen], asked)) == ["ok"] * 3
    blind = replace(GOOD, name="b", knock="10.0.0.1 does not answer", sees=False, bucket="no permission")
    found = machines.ways([seen, blind], asked)
    assert [one.says for one in found] == ["b: 10.0.0.1 does not answer", "b: does not see the folder", "b: no permission"]


def test_machines_that_do_not_answer_are_named_and_the_others_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "own_address", lambda: "127.0.0.1")
    monkeypatch.setattr(cluster, "gpus_of_ray", lambda: 0.0)
    here = look_here(Questions())
    answers = [
        Answer("a", here, "", here.clock),
        Answer("b", None, "ModuleNotFoundError", 0.0),
        Answer("c", None, "", 0.0),
    ]
    found = cluster.nodes(None, lambda *_, **__: answers)
    assert [one.says for one in found[:2]] == ["b: cannot run pd (ModuleNotFoundError)", "c: no answer within 60 s"]
    assert {one.state for one in found[2:] if one.check in ("versions", "clocks")} == {"ok"}
    assert states(cluster.nodes(None, lambda *_, **__: [])) == ["todo"]


def test_a_head_that_is_not_there_ends_the_checks_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "join", lambda _: pytest.fail("no head, and yet joined"))
    (found,) = cluster.cluster("127.0.0.1:1", None)
    assert (found.check, found.state) == ("address", "todo")
    monkeypatch.setattr(cluster, "cluster_address", lambda address: address)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert states(cluster.cluster(None, None)) == ["left out"]


def test_a_check_that_hangs_or_breaks_is_a_line() -> None:
    def broken() -> list[Finding]:
        raise ValueError("Jane Doe")

    def refused() -> list[Finding]:
        raise UserError("no such folder", where="data.path", fix="check it")

    (found,) = bounded("slow", lambda: time.sleep(30) or [], 0.05)  # type: ignore[func-returns-value]
    assert (found.state, found.says) == ("todo", "no answer within 0.05 s")
    (found,) = bounded("broken", broken, 5)
    assert "ValueError" in found.says
    assert "Jane" not in found.says + found.fix
    (found,) = bounded("refused", refused, 5)
    assert (found.says, found.fix) == ("data.path: no such folder", "check it")


def test_the_folder_of_runs_is_tried_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = storage(tmp_path / "not" / "yet" / "there")
    assert found.state == "ok"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("pd.doctor.storage.fcntl.flock", lambda *_: None)  # as mounts that only say that they lock
    assert storage(tmp_path)[0].says.endswith("locks lock nobody out")
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 2**40 - 2**30, 2**30))  # type: ignore[attr-defined]
    assert storage(tmp_path)[0].says.endswith("1.0 GiB free")
    assert list(tmp_path.iterdir()) == []
