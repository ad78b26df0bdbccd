"""cluster/slurm.sh with commands of Slurm and Ray that only act: a node that does not start ends the job, and says so."""

import os
import subprocess
from pathlib import Path

import pytest
from terminal import ROOT

ACTORS = {
    "scontrol": "echo first; echo second",
    "srun": """case "$*" in
*hostname*) echo 127.0.0.1 ;;
*--head*) eval "$HEAD" ;;
*) eval "$OTHERS" ;;
esac""",
    "ray": """for node in $NODES; do echo " 1 node_$node"; done""",
    "pd": """echo "pd $*"; exit 3""",
    "sleep": "exec /bin/sleep 0.05",
}
STAYS, ENDS = "exec /bin/sleep 300", "echo no room in /tmp >&2; exit 1"


def slurm(folder: Path, **acts: str) -> subprocess.CompletedProcess[str]:
    """Run the script in an allocation of two nodes."""
    (folder / "bin").mkdir()
    (folder / "cluster").symlink_to(ROOT / "cluster")
    for name, text in ACTORS.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / "bin" / name).chmod(0o700)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(folder)} | acts
    environment |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "first,second"}
    words = ["bash", str(ROOT / "cluster" / "slurm.sh"), "mine.yaml", "--set", "seed=1"]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_run_begins_when_all_nodes_are_there_and_ends_the_job_with_its_code(tmp_path: Path) -> None:
    done = slurm(tmp_path, HEAD=STAYS, OTHERS=STAYS, NODES="a b")
    assert (done.returncode, done.stdout) == (3, "pd run mine.yaml --set seed=1\n"), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "cluster"}  # the secrets are gone


@pytest.mark.parametrize(
    ("acts", "says"),
    [
        ({"HEAD": STAYS, "OTHERS": ENDS, "NODES": "a"}, "Ray has ended on a node"),
        ({"HEAD": ENDS, "OTHERS": STAYS, "NODES": ""}, "Ray has ended on a node"),
        ({"HEAD": STAYS, "OTHERS": STAYS, "NODES": "a", "PD_RAY_WAIT_S": "1"}, "1 of 2 nodes have joined after 1 s"),
    ],
    ids=["a worker ends", "the head ends", "a worker hangs"],
)
def test_a_node_that_does_not_start_ends_the_job(tmp_path: Path, acts: dict[str, str], says: str) -> None:
    done = slurm(tmp_path, **acts)
    assert done.returncode == 1
    assert says in done.stderr
    assert "pd run" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "cluster"}
