"""cluster/slurm.sh on a real Slurm, whose nodes have addresses of their own and whose /etc/hosts calls a node loopback.

`make test-all` runs it as root with Debian's `slurm-wlm` and `munge`; elsewhere it says what is missing.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from namespaces import NETWORK
from slurm_cluster import Slurm, slurm, why_not
from slurm_stories import cut_off, interrupted, out_of_time, swept, told, whole, without_pd

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(why_not()), reason=f"no Slurm here: {why_not()}"),
]
FAULTS = ("error", "Traceback", "CANCELLED", "srun:", "fail")


@pytest.fixture(scope="module")
def one_node() -> Iterator[Slurm]:
    with slurm("n1") as running:
        yield running


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Slurm]:
    with slurm("d1", "d2") as running:
        yield running


def test_a_run_ends_well_and_nothing_in_its_log_sounds_like_a_fault_and_its_thresholds_are_swept(
    one_node: Slurm, tmp_path: Path
) -> None:
    run = whole(one_node, tmp_path)
    assert run["ended"] == "COMPLETED", run["log"]
    assert run["released"]
    assert not [line for line in run["log"].splitlines() for word in FAULTS if word in line], run["log"]
    sweep = swept(one_node, tmp_path)
    assert sweep["ended"] == "COMPLETED", sweep["log"]
    assert sweep["chosen"]


def test_what_is_queued_again_or_preempted_goes_on_and_what_is_cancelled_stays_so(one_node: Slurm, tmp_path: Path) -> None:
    found = interrupted(one_node, tmp_path)
    assert found["requeued_resumes"], found["log"]
    assert found["preempted_resumes"], found["log"]
    assert found["cancelled_stays"], found["log"]


def test_a_job_whose_time_runs_out_goes_on(one_node: Slurm, tmp_path: Path) -> None:
    found = out_of_time(one_node, tmp_path)
    assert found["resumes"], found["log"]


def test_an_environment_without_pd_is_told_in_one_line(one_node: Slurm, tmp_path: Path) -> None:
    found = without_pd(one_node, tmp_path)
    assert found["ended"] == "FAILED"
    assert len(found["log"].splitlines()) == 1
    assert "no `pd` on this job's PATH" in found["log"]


def test_a_node_that_cannot_reach_the_head_is_told_in_one_line(two_nodes: Slurm, tmp_path: Path) -> None:
    found = cut_off(two_nodes, tmp_path)
    assert found["ended"] == "FAILED"
    assert told(found["log"]) == [found["log"].strip()], found["log"]
    assert f"d2: cannot reach the head's Ray at {NETWORK}.11, port 6379, from {NETWORK}.12" in found["log"]


def test_a_run_on_two_nodes_ends_well(two_nodes: Slurm, tmp_path: Path) -> None:
    run = whole(two_nodes, tmp_path, nodes=2)
    assert run["ended"] == "COMPLETED", run["log"]
    assert run["released"]
    assert not [line for line in run["log"].splitlines() for word in FAULTS if word in line], run["log"]


def test_doctor_finds_two_nodes_well(two_nodes: Slurm, tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    arguments = ["cluster/slurm.sh", "doctor", "configs/smoke.yaml", "--set", f"runs={tmp_path}"]
    job = two_nodes.submit(*arguments, log=log, nodes=2)
    two_nodes.until(job, "COMPLETED", log=log, within=900)
    text = log.read_text()
    assert "all 2 reach this process at" in text
    assert "machines: 2 answer" in text
    assert "to do" not in text, text
