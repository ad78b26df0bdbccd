"""cluster/slurm.sh with commands of Slurm and Ray that only act: a node that does not start ends the job, and says so.

With a Slurm that is one: `test_slurm_for_real.py`.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from terminal import ROOT

from pd.engine.submit import COMMANDS

ACTORS = {
    "scontrol": """case "$1 $2" in
"show hostnames") echo first; echo second ;;
"show job") echo "PreemptTime=${PREEMPTED:-None}" ;;
*) echo "scontrol $*" ;;
esac""",
    "srun": """case "$*" in
*"node.sh head"*) eval "$HEAD" ;;
*"node.sh worker"*) eval "$OTHERS" ;;
esac""",
    "ray": """if [ "$1" = start ] && [ -n "${HANGS:-}" ]; then
  trap "" TERM
  echo $$ >"$secrets/up"
  while :; do /bin/sleep 0.1; done
fi
for node in $NODES; do echo " 1 node_$node"; done""",
    "pd": """[ -z "${HANGS:-}" ] || until [ -e "$secrets/up" ]; do /bin/sleep 0.05; done
[ -z "${PREEMPTED:-}" ] || exec /bin/sleep 40
echo "pd $*"; exit 3""",
    "sleep": "exec /bin/sleep 0.05",
}
STAYS = 'until [ -e "$secrets/over" ]; do /bin/sleep 0.05; done'
ENDS = "echo no room in /tmp >&2; exit 1"
SAYS = 'echo "second: no room in /tmp" >"$secrets/second.failed"; exit 1'


def slurm(folder: Path, *words: str, without: str = "", **acts: str) -> subprocess.CompletedProcess[str]:
    """Run the script in an allocation of two nodes."""
    (folder / "bin").mkdir()
    (folder / "mine.yaml").touch()
    (folder / "cluster").symlink_to(ROOT / "cluster")
    for name, text in ACTORS.items():
        if name == without:
            continue
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / "bin" / name).chmod(0o700)
    beside = "/usr/local/bin:/usr/bin:/bin" if without else os.environ["PATH"]
    environment = {"PATH": f"{folder / 'bin'}:{beside}", "SLURM_SUBMIT_DIR": str(folder)} | acts
    environment |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "first,second"}
    command = ["bash", str(ROOT / "cluster" / "slurm.sh"), *(words or ("mine.yaml", "--set", "seed=1"))]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_run_begins_when_all_nodes_are_there_and_ends_the_job_with_its_code(tmp_path: Path) -> None:
    done = slurm(tmp_path, HEAD=STAYS, OTHERS=STAYS, NODES="a b")
    assert (done.returncode, done.stdout) == (3, "pd run mine.yaml --set seed=1\n"), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "cluster", "mine.yaml"}  # the secrets are gone


def test_workers_do_not_step_back_behind_other_jobs_of_a_node(tmp_path: Path) -> None:
    done = slurm(tmp_path, HEAD=f'echo "niceness $RAY_worker_niceness"; {STAYS}', OTHERS=STAYS, NODES="a b")
    assert "niceness 0" in done.stdout.splitlines()


def test_a_ray_that_does_not_end_is_ended_by_its_node_and_not_by_slurm(tmp_path: Path) -> None:
    """A step that Slurm kills leaves lines that sound like a fault behind a run that ended well."""
    node = 'bash "$secrets/node.sh" head 127.0.0.1 6379 && echo "the step has ended by itself"'
    done = slurm(tmp_path, HEAD=node, OTHERS=STAYS, NODES="a b", HANGS="1")
    assert done.returncode == 3, done.stderr
    assert "the step has ended by itself" in done.stdout, done.stderr


def test_a_preempted_job_is_queued_again_where_its_steps_alone_are_told(tmp_path: Path) -> None:
    """So Slurm does in the time of grace; without this `pd` ended with the Ray that it had lost, and the job as failed."""
    node = 'bash "$secrets/node.sh" head 127.0.0.1 6379 & node=$!; until [ -s "$secrets/up" ]; do /bin/sleep 0.05; done'
    head = f"{node}; /bin/sleep 1; kill -TERM $node; wait $node"
    done = slurm(tmp_path, HEAD=head, OTHERS=STAYS, NODES="a b", HANGS="1", PREEMPTED="2026-11-30T12:00:00")
    assert "slurm.sh: preempted; the job is put into the queue again" in done.stdout, done.stdout + done.stderr
    assert "scontrol requeue 7" in done.stdout
    assert done.returncode == 143


def test_a_step_that_slurm_ends_leaves_no_ray_behind(tmp_path: Path) -> None:
    """It would hold the port when the job starts there again."""
    node = 'bash "$secrets/node.sh" head 127.0.0.1 6379 & node=$!; until [ -s "$secrets/up" ]; do /bin/sleep 0.05; done'
    ends = 'ray=$(cat "$secrets/up"); kill -TERM $node; wait $node'
    gone = 'while kill -0 "$ray" 2>/dev/null; do /bin/sleep 0.1; done; echo "Ray is gone, too"'
    done = slurm(tmp_path, HEAD=f"{node}; {ends}; {gone}", OTHERS=STAYS, NODES="a b", HANGS="1")
    assert "Ray is gone, too" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("acts", "says"),
    [
        ({"HEAD": STAYS, "OTHERS": ENDS, "NODES": "a"}, "Ray has ended on a node"),
        ({"HEAD": ENDS, "OTHERS": STAYS, "NODES": ""}, "Ray has ended on a node"),
        ({"HEAD": STAYS, "OTHERS": SAYS, "NODES": "a"}, "Ray did not start on second: no room in /tmp"),
        ({"HEAD": STAYS, "OTHERS": STAYS, "NODES": "a", "PD_RAY_WAIT_S": "1"}, "1 of 2 nodes have joined after 1 s"),
    ],
    ids=["a worker ends", "the head ends", "a worker says why", "a worker hangs"],
)
def test_a_node_that_does_not_start_ends_the_job(tmp_path: Path, acts: dict[str, str], says: str) -> None:
    done = slurm(tmp_path, **acts)
    assert done.returncode == 1
    assert says in done.stderr
    assert "pd run" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "cluster", "mine.yaml"}


def test_another_command_than_run(tmp_path: Path) -> None:
    done = slurm(tmp_path, "sweep", "mine.yaml", HEAD=STAYS, OTHERS=STAYS, NODES="a b")
    assert (done.returncode, done.stdout) == (3, "pd sweep mine.yaml\n"), done.stderr
    named = re.search(r"^(run \|.*)\) command=", (ROOT / "cluster" / "slurm.sh").read_text(), re.MULTILINE)
    assert named
    assert tuple(named[1].split(" | ")) == COMMANDS


@pytest.mark.parametrize(
    ("words", "without", "says"),
    [
        (("mine.yaml",), "pd", "no `pd` on this job's PATH"),
        (("mien.yaml",), "", "mien.yaml: no such file or folder"),
        (("sweep", "runs/none"), "", "runs/none: no such file or folder"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line_before_anything_starts(
    tmp_path: Path, words: tuple[str, ...], without: str, says: str
) -> None:
    done = slurm(tmp_path, *words, without=without, HEAD=STAYS, OTHERS=STAYS, NODES="a b")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "cluster", "mine.yaml"}
