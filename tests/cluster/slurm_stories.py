"""What happens to jobs of `cluster/slurm.sh` on a real Slurm: each story tells what came of it, tests and a benchmark judge."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slurm_cluster import Slurm
from terminal import ROOT, SHORT_AUDIT

SHORT = (*SHORT_AUDIT, "sweep.trials=8", "sweep.resamples=20", 'sweep.constraints=["kept >= 0"]')
BACK_S = 130  # Slurm starts what was queued again after two minutes
PORT = 6379  # the head's Ray


def submit(
    running: Slurm,
    folder: Path,
    *options: str,
    command: tuple[str, ...] = (),
    config: Path | str = "configs/smoke.yaml",
    nodes: int = 1,
    env: Mapping[str, str] | None = None,
    log: str = "job.log",
) -> tuple[str, Path]:
    """Submit a smoke run whose runs lie in a folder; its number and its log."""
    sets = [word for one in (f"runs={folder}", *SHORT) for word in ("--set", one)]
    words = [*options, "cluster/slurm.sh", *command, str(config), *sets]
    return running.submit(*words, log=folder / log, nodes=nodes, env=env), folder / log


def whole(running: Slurm, folder: Path, nodes: int = 1) -> dict[str, Any]:
    """A run to its end."""
    begin = time.monotonic()
    job, log = submit(running, folder, nodes=nodes)
    state = running.until(job, "COMPLETED", "FAILED", log=log, within=3000)
    released = (folder / "smoke" / "release" / "README.md").exists()
    return {"ended": state, "released": released, "seconds": round(time.monotonic() - begin, 1), "log": log.read_text()}


def swept(running: Slurm, folder: Path) -> dict[str, Any]:
    """A sweep of the run that `whole` has left in the folder."""
    job, log = submit(running, folder, command=("sweep",), config=folder / "smoke", log="sweep.log")
    state = running.until(job, "COMPLETED", "FAILED", log=log, within=1500)
    chosen = (folder / "smoke" / "private" / "sweep" / "chosen.yaml").exists()
    return {"ended": state, "chosen": chosen, "log": log.read_text()}


def whole_and_swept(running: Slurm, folder: Path) -> dict[str, Any]:
    """Both, one after the other."""
    run = whole(running, folder)
    sweep = swept(running, folder)
    return run | {"sweep_ended": sweep["ended"], "log": run["log"] + sweep["log"]}


def interrupted(running: Slurm, folder: Path) -> dict[str, Any]:
    """A run that is queued again in its second stage, preempted in its third, and cancelled in its fourth.

    Returns:
        requeued_resumes, preempted_resumes: it started again, and made no finished stage again; cancelled_stays; log.
    """
    job, log = submit(running, folder)
    running.until(job, log=log, within=1500, says="reid:")
    running.run("scontrol", "requeue", job)
    running.until(job, "PENDING", log=log, within=300)
    running.until(job, log=log, within=1500, says="\nteacher:")
    requeued = running.field(job, "Restarts") == "1" and log.read_text().count("ingest: done") == 1

    words = ["--parsable", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
    urgent = running.run("sbatch", *words).strip()
    running.until(job, "PENDING", log=log, within=300)
    running.until(urgent, "COMPLETED", log=log, within=300)
    running.until(job, log=log, within=1500, says="\ngenerate:")
    text = log.read_text()
    preempted = running.field(job, "Restarts") == "2" and text.count("reid: done") == text.count("ingest: done") == 1
    preempted = preempted and "slurm.sh: preempted; the job is put into the queue again" in text

    running.run("scancel", job)
    running.until(job, "CANCELLED", log=log, within=300)
    time.sleep(BACK_S)
    cancelled = running.state(job) == "CANCELLED" and not list(ROOT.glob(f".pd-{job}-*"))  # the secrets are gone, too
    return {
        "requeued_resumes": requeued,
        "preempted_resumes": preempted,
        "cancelled_stays": cancelled,
        "log": log.read_text(),
    }


def out_of_time(running: Slurm, folder: Path) -> dict[str, Any]:
    """A run whose time is up before its end: three minutes, of which Slurm leaves two or one before it sends USR1."""
    job, log = submit(running, folder, "--time=3", "--signal=B:USR1@60")
    running.until(job, log=log, within=600, says="its time is nearly up; the job is put into the queue again")
    before = log.read_text()
    running.until(job, "RUNNING", log=log, within=300)
    end, begun = time.monotonic() + 600, None
    while begun is None and time.monotonic() < end:
        time.sleep(1)
        begun = re.search(r"^([a-z]+): ", log.read_text()[len(before) :].replace("slurm.sh: ", ""), re.MULTILINE)
    done = re.findall(r"^([a-z]+): done in", before, re.MULTILINE)
    resumed = running.field(job, "Restarts") == "1" and begun is not None and begun[1] not in done
    running.run("scancel", job)
    running.until(job, "CANCELLED", log=log, within=300)
    return {"resumes": resumed and bool(done), "log": log.read_text()}


def without_pd(running: Slurm, folder: Path) -> dict[str, Any]:
    """Submitted from an environment that has no `pd`."""
    beside = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    job, log = submit(running, folder, env=beside)
    return {"ended": running.until(job, "FAILED", "COMPLETED", log=log, within=300), "log": log.read_text()}


def cut_off(running: Slurm, folder: Path) -> dict[str, Any]:
    """Two nodes, the second of which cannot reach the head's Ray: a firewall lets Slurm through, but not that port."""
    second = running.nodes[1]
    rule = ("ipproto", "tcp", "dport", str(PORT), "blackhole")
    second.run("ip", "rule", "add", *rule, check=True)
    try:
        job, log = submit(running, folder, nodes=2, env={"PD_RAY_WAIT_S": "45"})
        state = running.until(job, "FAILED", "COMPLETED", log=log, within=600)
    finally:
        second.run("ip", "rule", "del", *rule)
    return {"ended": state, "log": log.read_text()}


def told(log: str) -> list[str]:
    """Lines that `slurm.sh` itself wrote."""
    return [line for line in log.splitlines() if line.startswith("slurm.sh: ")]
