"""A Ray cluster of machines with addresses of their own (network namespaces), and what is done to it while it generates.

Each machine starts Ray with the token, TLS and a certificate of its own; a job is submitted from one that is no part of the
cluster. The rows that it leaves are compared with those of a run that nobody disturbed: by id, and by their bytes.
"""

import os
import secrets
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from namespaces import NETWORK, Machine, machines
from terminal import PD, ROOT

TOOL = ROOT / "cluster" / "node-cert.sh"
PORT, JOBS = 6379, 8265
NODES = ("head", "one", "two")
MADE = ("generate.candidates=960", "generate.shard_size=32", "cluster.silence_minutes=3")
START_S = 300.0


@dataclass
class Nodes:
    """A running cluster.

    Attributes:
        machines: by name; `desk` is no part of it.
        folder: of its certificates, its token and the logs.
    """

    machines: dict[str, Machine]
    folder: Path

    def environment(self, name: str, token: str = "token", ca: str = "ca", address: str = "") -> dict[str, str]:
        """What a process on a machine needs: its certificate, made with the first call, and the token."""
        machine = self.machines[name]
        own = self.folder / f"{name}-{ca}-{address or 'own'}"
        if not own.exists():
            _run(TOOL, "node", self.folder / ca, own, name, address or machine.address)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key != "TMPDIR"}
        return kept | {
            "PATH": os.pathsep.join([str(PD.parent), kept["PATH"]]),
            "PD_HOME": str(self.folder / "home"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / token),
            "RAY_USE_TLS": "1",
            "RAY_TLS_CA_CERT": str(self.folder / ca / "ca.crt"),
            "RAY_TLS_SERVER_CERT": str(own / "tls.crt"),
            "RAY_TLS_SERVER_KEY": str(own / "tls.key"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "no_proxy": "*",
        }

    def start(self, name: str) -> None:
        """Start Ray there, and wait until the head counts it."""
        machine, head = self.machines[name], self.machines["head"]
        words = [f"--node-ip-address={machine.address}", "--num-cpus=1", f"--object-store-memory={2**27}", "--block"]
        if name == "head":
            words += ["--head", f"--port={PORT}", "--dashboard-host=0.0.0.0", f"--dashboard-port={JOBS}"]
        else:
            words += [f"--address={head.address}:{PORT}"]
        before = 0 if name == "head" else self.joined()
        with (self.folder / f"{name}.log").open("a") as log:
            machine.start(PD.with_name("ray"), "start", "--disable-usage-stats", *words, env=self.environment(name), log=log)
        end = time.monotonic() + START_S
        while self.joined() <= before:
            assert time.monotonic() < end, (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
            time.sleep(1)

    def joined(self) -> int:
        """How many nodes the head counts."""
        head = self.machines["head"]
        env = self.environment("head") | {"RAY_ADDRESS": f"{head.address}:{PORT}"}
        try:
            done = head.run(PD.with_name("ray"), "status", env=env, timeout=60)
        except subprocess.TimeoutExpired:
            return 0
        return done.stdout.partition("Pending:")[0].count(" node_")

    def submit(self, run: Path, log: Path, **wrong: str) -> "subprocess.Popen[str]":
        """Submit the generation of a run from the desk; its output goes to a file."""
        to = f"http://{self.machines['head'].address}:{JOBS}"
        words = ["job", "submit", "--address", to, "--working-dir", str(self.folder / "work"), "--"]
        job = ["python", str(ROOT / "ray_jobs" / "generate.py"), "--config", str(ROOT / "configs" / "smoke.yaml")]
        sets = [word for one in (f"runs={run.parent}", *MADE) for word in ("--set", one)]
        with log.open("w") as file:
            environment = self.environment("desk", **wrong)
            return self.machines["desk"].start(PD.with_name("ray"), *words, *job, *sets, env=environment, log=file)


@contextmanager
def cluster(folder: Path) -> Iterator[Nodes]:
    """Start all of it; everything is gone afterwards."""
    with machines(*NODES, "desk") as made:
        nodes = Nodes({machine.name: machine for machine in made}, folder)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "work").mkdir(parents=True)
        (folder / "home").mkdir()
        for name in ("token", "other-token"):
            (folder / name).write_text(secrets.token_hex(32))
            (folder / name).chmod(0o600)
        for name in ("ca", "other-ca"):
            _run(TOOL, "ca", folder / name)
        for name in NODES:
            nodes.start(name)
        yield nodes


def shards(run: Path) -> list[Path]:
    """Whole shards that a run's generation has left so far."""
    return sorted((run / "private" / "generated").glob("*.parquet"))


def rows_of(run: Path) -> dict[str, bytes]:
    """The picture of each candidate by its id; `twice` counts those that are there more than once."""
    tables = (pq.read_table(file, columns=["id", "image"]) for file in shards(run))
    return {row["id"]: row["image"]["bytes"] for table in tables for row in table.to_pylist()}


def twice(run: Path) -> int:
    """How many candidates are there more than once."""
    ids = Counter(name for file in shards(run) for name in pq.read_table(file, columns=["id"])["id"].to_pylist())
    return sum(count - 1 for count in ids.values())


def compared(run: Path, expected: dict[str, bytes]) -> dict[str, Any]:
    """What is lost or doubled of the expected rows, and whether the rest is theirs, byte for byte."""
    found, doubled = rows_of(run), twice(run)
    lost = len(expected.keys() - found.keys())
    return {"survived": found == expected and not doubled, "lost": lost, "doubled": doubled}


def link_down(nodes: Nodes, seconds: float) -> None:
    """A machine's cable is out for a while."""
    nodes.machines["one"].link(False)
    time.sleep(seconds)
    nodes.machines["one"].link(True)


def slow_link(nodes: Nodes) -> None:
    """A machine's link lets 10 Mbit/s through, to the end."""
    nodes.machines["one"].limit("10mbit")


def bad_wire(nodes: Nodes) -> None:
    """A machine's frames take 50 ms in each direction, and one in a hundred is lost, to the end."""
    nodes.machines["one"].bad_wire(0.05, 0.01)


def node_lost(nodes: Nodes) -> None:
    """A machine is switched off."""
    nodes.machines["two"].kill()


def head_lost(nodes: Nodes) -> None:
    """The head is switched off, and all start again; the job is submitted once more."""
    for name in NODES:
        nodes.machines[name].kill()
    time.sleep(2)
    for name in NODES:
        nodes.start(name)


DONE: dict[str, tuple[Callable[[Nodes], None], bool]] = {
    "link_down_30_s": (lambda nodes: link_down(nodes, 30), False),
    "link_down_5_min": (lambda nodes: link_down(nodes, 300), False),
    "link_of_10_mbit": (slow_link, False),
    "latency_and_loss": (bad_wire, False),
    "node_lost": (node_lost, False),
    "head_lost": (head_lost, True),
}
"""What is done while the job generates, and whether the job is then submitted once more in any case."""
REFUSED: dict[str, dict[str, str]] = {
    "wrong_token": {"token": "other-token"},
    "wrong_certificate": {"ca": "other-ca"},
}
"""What a client brings that must not be let in."""
MISNAMED = "wrong_address_in_certificate"
"""The driver's certificate names another address, so that no worker can hand it a result."""


def disturbed(fault: str, base: Path, expected: dict[str, bytes], folder: Path) -> dict[str, Any]:
    """Generate on a cluster of its own while something goes wrong; what came of it."""
    run, log = folder / fault / base.name, folder / f"{fault}.log"
    shutil.rmtree(folder / fault, ignore_errors=True)
    shutil.copytree(base, run)
    what, again = DONE[fault]
    begin = time.monotonic()
    with cluster(folder / f"cluster-{fault}") as nodes:
        job = nodes.submit(run, log)
        end = time.monotonic() + 900
        while len(shards(run)) < 3 and job.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
        what(nodes)
        code, submitted = _waited(job), 1
        if code or again:
            nodes.machines["one"].link(True)
            code, submitted = _waited(nodes.submit(run, log.with_suffix(".again.log"))), 2
    found = compared(run, expected)
    found["survived"] = found["survived"] and code == 0
    return {**found, "submitted": submitted, "seconds": round(time.monotonic() - begin, 1)}


def refused(folder: Path, base: Path, expected: dict[str, bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Clients with a wrong token or certificate, on one cluster: are they told so in a line, and does nothing begin?

    A driver whose certificate names another address must get all candidates, or end in a line, and not wait for ever.
    """
    with cluster(folder / "cluster-refused") as nodes:
        head = nodes.machines["head"]
        for fault, wrong in REFUSED.items():
            join = f"from pd.engine.runtime import connect; connect('{head.address}:{PORT}')"
            begin = time.monotonic()
            env = nodes.environment("desk", **wrong)
            told = _told(nodes.machines["desk"], [PD.with_name("python"), "-c", join], env, "errors.UserError: ")
            yield fault, {**told, "seconds": round(time.monotonic() - begin, 1)}
        run, begin = folder / "misnamed" / base.name, time.monotonic()
        shutil.rmtree(run.parent, ignore_errors=True)
        shutil.copytree(base, run)
        env = nodes.environment("head", address=f"{NETWORK}.99") | {"RAY_ADDRESS": f"{head.address}:{PORT}"}
        sets = [word for one in (f"runs={run.parent}", *MADE) for word in ("--set", one)]
        told = _told(head, [PD, "generate", ROOT / "configs" / "smoke.yaml", *sets], env, "pd: ")
        if told["exit_code"] == 0:  # it did not matter
            told |= compared(run, expected)
        yield MISNAMED, {**told, "seconds": round(time.monotonic() - begin, 1)}


def _told(machine: Machine, words: list[object], env: dict[str, str], mark: str) -> dict[str, Any]:
    """What a command that must fail says after `mark`; it has not survived where it said nothing, or hung."""
    try:
        done = machine.run(*words, env=env, timeout=900)
        line = next((line for line in done.stderr.splitlines() if mark in line), "")
        ended = done.returncode
    except subprocess.TimeoutExpired:
        line, ended = "", None
    said = line.partition(mark)[2]
    return {"survived": bool(said) and bool(ended), "said": said[:300], "exit_code": ended, "lost": 0, "doubled": 0}


def _waited(job: "subprocess.Popen[str]") -> int:
    try:
        return job.wait(1500)
    except subprocess.TimeoutExpired:
        job.kill()
        return -1


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
