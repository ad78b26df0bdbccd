"""A Slurm of one's own: munged, slurmctld and a slurmd on each of some machines that are namespaces of this one."""

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from namespaces import Machine, machines
from terminal import ROOT

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue", "srun")
CPUS = 2
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED")

_CONF = """\
ClusterName=pd
SlurmctldHost={controller}({address})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
KillWait=20
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime={grace} OverSubscribe=NO
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9 OverSubscribe=NO
"""


def why_not() -> str:
    """Why Slurm cannot be started here; empty: it can."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"no {', '.join(missing)} (apt-get install slurm-wlm munge)"
    import namespaces

    return namespaces.why_not()


@dataclass
class Slurm:
    """A running one.

    Attributes:
        nodes: machines with a slurmd.
        folder: of its configuration and logs.
        environment: in which its commands find it.
    """

    nodes: Sequence[Machine]
    folder: Path
    environment: Mapping[str, str]

    def run(self, *words: object, check: bool = True) -> str:
        """Run one of Slurm's commands on the first machine; returns what it printed."""
        done = self.nodes[0].run(*words, env=self.environment, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *words: object, log: Path, nodes: int = 1, env: Mapping[str, str] | None = None) -> str:
        """Submit `cluster/slurm.sh` from the checkout; `words` are options of sbatch, then its path, then its arguments."""
        options = ["--parsable", f"--nodes={nodes}", "--gpus-per-node=0", f"--output={log}", *words]
        done = self.nodes[0].run("sbatch", *options, env={**self.environment, **(env or {})}, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """PENDING, RUNNING, CANCELLED, ..."""
        return self.field(job, "JobState")

    def field(self, job: str, name: str) -> str:
        """What `scontrol show job` says of a job: Restarts, ExitCode, Reason."""
        found = re.search(rf"\b{name}=(\S*)", self.run("scontrol", "show", "job", job))
        assert found, name
        return found[1]

    def until(self, job: str, *states: str, log: Path, within: float = 600, says: str = "") -> str:
        """Wait until a job is in one of these states, or its log has these words; else AssertionError with the log."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            state, text = self.state(job), log.read_text(errors="replace") if log.exists() else ""
            if state in states or (says and says in text):
                return state
            assert state not in ENDED, f"{state}\n{text[-4000:]}"
            time.sleep(1)
        raise AssertionError(f"{self.state(job)} after {within} s\n{text[-4000:]}")


@contextmanager
def slurm(*names: str, grace: int = 60, path: str | None = None) -> Iterator[Slurm]:
    """Start Slurm on so many machines, of CPUS CPUs each; the first one also controls.

    Args:
        names: the machines' host names.
        grace: seconds that a preempted job is given.
        path: PATH of who submits; this environment's programs and the system's by default.
    """
    folder = Path(tempfile.mkdtemp(prefix="pds"))
    environment = {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": path or os.pathsep.join([str(ROOT / ".venv" / "bin"), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
    }
    for name in ("PYTHONPATH", "OMP_NUM_THREADS", "DS_ACCELERATOR", "HF_HUB_OFFLINE", "VIRTUAL_ENV"):
        if name in os.environ:
            environment[name] = os.environ[name]
    try:
        with machines(*names) as nodes:
            for name in names:
                (folder / name / "spool").mkdir(parents=True)
            (folder / "state").mkdir()
            lines = [
                f"NodeName={node.name} NodeAddr={node.address} CPUs={CPUS} RealMemory=8000 State=UNKNOWN" for node in nodes
            ]
            conf = _CONF.format(
                controller=names[0], address=nodes[0].address, folder=folder, nodes="\n".join(lines), grace=grace
            )
            (folder / "slurm.conf").write_text(conf)
            key = folder / "munge.key"
            key.write_bytes(secrets.token_bytes(128))
            key.chmod(0o400)
            socket = f"--socket={folder}/munge.socket"
            files = [f"--{what}-file={folder}/munge.{end}" for what, end in (("key", "key"), ("pid", "pid"), ("seed", "seed"))]
            with (folder / "daemons.log").open("w") as log:
                munge = [socket, *files, f"--log-file={folder}/munge.log"]
                nodes[0].start("munged", "--foreground", "--force", "--num-threads=2", *munge, env=environment, log=log)
                _wait(lambda: (folder / "munge.socket").exists(), folder)
                nodes[0].start("slurmctld", "-D", env=environment, log=log)
                for node in nodes:
                    node.start("slurmd", "-D", "-N", node.name, env=environment, log=log)
                running = Slurm(nodes, folder, environment)
                _wait(
                    lambda: (
                        running.run("sinfo", "-h", "-t", "idle", "-o", "%D", check=False).strip() == str(2 * len(names))
                        or running.run("sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D", check=False).strip()
                        == str(len(names))
                    ),
                    folder,
                )
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(done: "object", folder: Path) -> None:
    end = time.monotonic() + 60
    while not done():  # type: ignore[operator]
        if time.monotonic() > end:
            logs = [path.read_text(errors="replace")[-1500:] for path in sorted(folder.rglob("*.log"))]
            raise AssertionError("Slurm did not start\n" + "\n".join(logs))
        time.sleep(0.2)
