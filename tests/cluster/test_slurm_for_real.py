"""cluster/slurm.sh on a real Slurm, whose nodes have addresses of their own and whose /etc/hosts calls a node loopback.

`make test-all` runs it as root with Debian's `slurm-wlm` and `munge`; elsewhere it says what is missing.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Slurm, slurm, why_not

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


def submit(running: Slurm, folder: Path, *words: object) -> tuple[str, Path]:
    log = folder / "job.log"
    arguments = ["cluster/slurm.sh", "configs/smoke.yaml", "--set", f"runs={folder}", "--set", "audit.samples=32"]
    return running.submit(*words, *arguments, log=log), log


def test_a_run_ends_well_and_nothing_in_its_log_sounds_like_a_fault(one_node: Slurm, tmp_path: Path) -> None:
    job, log = submit(one_node, tmp_path)
    one_node.until(job, "COMPLETED", log=log, within=3000)
    text = log.read_text()
    assert (tmp_path / "smoke" / "release" / "README.md").exists()
    assert not [line for line in text.splitlines() for word in FAULTS if word in line], text


def test_what_is_cancelled_stays_so_and_what_is_queued_again_goes_on(one_node: Slurm, tmp_path: Path) -> None:
    job, log = submit(one_node, tmp_path)
    one_node.until(job, log=log, within=1500, says="reid:")
    one_node.run("scontrol", "requeue", job)
    one_node.until(job, "PENDING", log=log, within=120)
    one_node.until(job, "RUNNING", log=log, within=300)
    assert one_node.field(job, "Restarts") == "1"
    before = log.read_text().count("ingest:")
    one_node.until(job, log=log, within=1500, says="teacher:")
    assert log.read_text().count("ingest:") == before  # it was finished
    one_node.run("scancel", job)
    one_node.until(job, "CANCELLED", log=log, within=120)
    time.sleep(150)  # after two minutes Slurm starts what was queued again
    assert one_node.state(job) == "CANCELLED"
    assert not list(Path.cwd().glob(f".pd-{job}-*"))  # the secrets are gone


def test_doctor_finds_two_nodes_well(tmp_path: Path) -> None:
    with slurm("d1", "d2") as running:
        log = tmp_path / "job.log"
        arguments = ["cluster/slurm.sh", "doctor", "configs/smoke.yaml", "--set", f"runs={tmp_path}"]
        job = running.submit(*arguments, log=log, nodes=2)
        running.until(job, "COMPLETED", log=log, within=900)
        text = log.read_text()
        assert "all 2 reach this process at" in text
        assert "machines: 2 answer" in text
        assert "to do" not in text, text
