"""Does it run where users run it: a real Slurm, nodes with addresses of their own, a real S3 server?

    python benchmarks/real_clusters.py                        # as root, with Debian's slurm-wlm and munge; about an hour
    python benchmarks/real_clusters.py --parts netns --faults node_lost link_down_30_s
    python benchmarks/real_clusters.py --last                 # print the stored figures without running

slurm: `sbatch cluster/slurm.sh configs/smoke.yaml` to its end; put back into the queue in the middle (it must resume), then
cancelled (it must stay so). netns: `namespace_cluster.py`; a fault is survived where the same candidates are there in the end,
by id and bytes, at once or after the same job once more; a client that must not be let in is survived where one line says why
(and one whose certificate names another address, also where it gets all candidates).
s3: a run in a bucket of the MinIO in `juicefs gateway` whose command is killed (SIGKILL), and whose server is killed and begun
again, while it generates. What is measured replaces the stored figures of the same part or fault.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from harness import RESULTS, print_last, store

ROOT = Path(__file__).parent.parent
sys.path[1:1] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster")]  # their machines, Slurm and servers

import namespace_cluster as netns  # noqa: E402
from bucket import BUCKET, s3_server  # noqa: E402
from slurm_cluster import slurm, why_not  # noqa: E402
from terminal import PD  # noqa: E402

AUDIT = ("audit.samples=32",)
BEFORE = ("ingest", "reid", "teacher")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--parts", nargs="+", choices=("slurm", "netns", "s3"), default=("slurm", "netns", "s3"))
    every = (*netns.DONE, *netns.REFUSED, netns.MISNAMED)
    parser.add_argument("--faults", nargs="+", choices=every, default=every, help="of the part netns")
    given = parser.parse_args()
    if given.last:
        print_last("real_clusters")
        return
    if why := why_not():
        sys.exit(f"this machine cannot do it: {why}")
    held = RESULTS / "real_clusters.json"
    found: dict[str, Any] = json.loads(held.read_text(encoding="utf-8"))["figures"] if held.exists() else {}
    with tempfile.TemporaryDirectory(prefix="pdr", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        if "slurm" in given.parts:
            found["slurm"] = on_slurm(folder)
            _keep(found, "slurm")
        if "netns" in given.parts:
            faults = found.get("netns", {}).get("by_fault", {})
            for fault, cell in on_namespaces(folder, given.faults):
                faults[fault] = cell
                found["netns"] = {
                    "faults": len(faults),
                    "survived": sum(each["survived"] for each in faults.values()),
                    "lost": sum(each["lost"] for each in faults.values()),
                    "doubled": sum(each["doubled"] for each in faults.values()),
                    "by_fault": faults,
                }
                _keep(found, fault)
        if "s3" in given.parts:
            found["s3"] = in_a_bucket(folder)
            _keep(found, "s3")


def _keep(found: dict[str, Any], what: str) -> None:
    print(what, file=sys.stderr)
    store("real_clusters", found)


def on_slurm(folder: Path) -> dict[str, Any]:
    """One run to its end, and one that is put back into the queue and then cancelled."""
    version = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    found: dict[str, Any] = {"submitted": 0, "version": version}
    with slurm("n1") as running:

        def submit(name: str) -> tuple[str, Path]:
            log = folder / f"{name}.log"
            sets = [word for one in (f"runs={folder / name}", *AUDIT) for word in ("--set", one)]
            found["submitted"] += 1
            return running.submit("cluster/slurm.sh", "configs/smoke.yaml", *sets, log=log), log

        begin = time.monotonic()
        job, log = submit("whole")
        state = running.until(job, "COMPLETED", "FAILED", log=log, within=3000)
        found |= {"ended": state, "seconds": round(time.monotonic() - begin, 1)}
        found["released"] = (folder / "whole" / "smoke" / "release" / "README.md").exists()

        job, log = submit("twice")
        running.until(job, log=log, within=2000, says="reid:")
        running.run("scontrol", "requeue", job)
        running.until(job, "PENDING", log=log, within=300)
        running.until(job, "RUNNING", log=log, within=600)
        before = log.read_text().count("ingest:")
        running.until(job, log=log, within=2000, says="teacher:")
        found["requeued_resumes"] = running.field(job, "Restarts") == "1" and log.read_text().count("ingest:") == before
        running.run("scancel", job)
        running.until(job, "CANCELLED", log=log, within=300)
        time.sleep(150)  # after two minutes Slurm starts what was queued again
        found["cancelled_stays"] = running.state(job) == "CANCELLED"
    return found


def on_namespaces(folder: Path, faults: Any) -> Any:
    """(fault, what came of it), one after another."""
    base = folder / "base" / "smoke"
    for stage in BEFORE:
        _pd(stage, f"runs={base.parent}")
    calm = folder / "calm" / "smoke"
    shutil.copytree(base, calm)
    _pd("generate", f"runs={calm.parent}", *netns.MADE)
    expected = netns.rows_of(calm)
    assert len(expected) == 960, len(expected)
    for fault in [name for name in faults if name in netns.DONE]:
        yield fault, netns.disturbed(fault, base, expected, folder)
    if set(faults) & {*netns.REFUSED, netns.MISNAMED}:
        yield from netns.refused(folder, base, expected).items()


def in_a_bucket(folder: Path) -> dict[str, Any]:
    """A run whose command and whose server are killed once each while it generates, against one on a disk."""
    sets = ("generate.candidates=480", "generate.shard_size=16", *AUDIT)
    _pd("run", f"runs={folder / 'disk'}", *sets)
    with s3_server("juicefs") as server:
        environment = {**server.environment, "PD_MIRROR": str(folder / "mirror")}
        runs = f"runs=s3://{BUCKET}/runs"
        first = _start("run", environment, runs, *sets)
        _until_generating(folder / "mirror", first)
        first.send_signal(signal.SIGKILL)
        first.wait()
        time.sleep(65)  # a lease of somebody who was killed a moment ago
        second = _start("run", environment, runs, *sets)
        time.sleep(20)
        server.process.kill()
        server.process.wait()
        time.sleep(3)
        server.start()
        code, again = second.wait(3000), 0
        while code and again < 2:
            time.sleep(65)
            code, again = _start("run", environment, runs, *sets).wait(3000), again + 1
        kept = _kept(folder / "disk" / "smoke")
        _start("status", environment, place=f"s3://{BUCKET}/runs/smoke").wait(600)
        mirrors = [path.parent.parent for path in (folder / "mirror").rglob("private/candidates")]
        found = _kept(mirrors[0]) if mirrors else set()
    return {"runs": 2 + again, "killed": 2, "lost": len(kept - found), "added": len(found - kept), "ended": code}


def _until_generating(mirror: Path, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 1500
    while not list(mirror.rglob("generated*/*.parquet")):
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < end
        time.sleep(0.2)


def _kept(run: Path) -> set[str]:
    tables = [
        pq.read_table(path, columns=["id", "keep"]) for path in sorted((run / "private" / "candidates").glob("*.parquet"))
    ]
    return {name for table in tables for name, keep in zip(*table.to_pydict().values(), strict=True) if keep}


def _pd(command: str, *sets: str) -> None:
    words = [word for one in sets for word in ("--set", one)]
    done = subprocess.run([str(PD), command, "configs/smoke.yaml", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def _start(
    command: str, environment: dict[str, str], *sets: str, place: str = "configs/smoke.yaml"
) -> "subprocess.Popen[bytes]":
    words = [word for one in sets for word in ("--set", one)]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([str(PD), command, place, *words], cwd=ROOT, env={**os.environ, **environment}, **silent)


if __name__ == "__main__":
    main()
