"""A Ray cluster of several nodes on this machine, as people start one: `ray start`, a token, TLS, and the job server."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import ray
from terminal import ROOT

RAY = Path(sys.executable).with_name("ray")
START_S = 240.0


@dataclass(frozen=True)
class LocalCluster:
    """A running cluster.

    Attributes:
        server: address of its job server.
        address: of its head.
        home: PD_HOME of its nodes.
        environment: what a client needs to be let in.
    """

    server: str
    address: str
    home: Path
    environment: Mapping[str, str]

    def run(self, *words: object, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command of this virtual environment (`pd` or `ray`) as a client."""
        command = [str(RAY.with_name(str(words[0]))), *map(str, words[1:])]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT, env=dict(self.environment)
        )


@contextmanager
def local_cluster(nodes: int, cpus: int | None = None) -> Iterator[LocalCluster]:
    """Start a head and further nodes, of so many CPUs each (as this machine has); all of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pd"))  # short: sockets lie in it
    port, dashboard = _free_port(), _free_port()
    gcs = f"{ray.util.get_node_ip_address()}:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_worker_niceness"] = "0"  # as pd has it: Ray's own is left nothing beside other tests
    environment["PATH"] = os.pathsep.join([str(RAY.parent), environment["PATH"]])  # where a job finds its `python`
    environment |= {"PD_HOME": str(folder / "home")} | _tls(folder)
    (folder / "home").mkdir()
    common = [f"--num-cpus={cpus or os.cpu_count()}", f"--object-store-memory={2**27}", "--block", "--disable-usage-stats"]
    head = [
        "--head",
        f"--port={port}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}",
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for words in [head, *[[f"--address={gcs}"]] * (nodes - 1)]:
            # A folder of its own for each, as on machines of their own: a node removes the working directory of a job that it
            # no longer works for, and there another node's worker, or the job itself, would stand in nothing.
            own = f"--temp-dir={folder}/ray{len(started)}"
            with (folder / f"node{len(started)}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        # Its agents listen at ports of their own: whatever else runs Ray on this machine has the usual one.
                        [str(RAY), "start", *words, *common, own, f"--dashboard-agent-listen-port={_free_port()}"],
                        stdout=log,
                        stderr=log,
                        env=environment,
                        start_new_session=True,
                    )
                )
            _wait(environment | {"RAY_ADDRESS": gcs}, len(started), started[-1], folder)
        yield LocalCluster(f"http://127.0.0.1:{dashboard}", gcs, folder / "home", environment)
    finally:
        for process in reversed(started):
            _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(environment: Mapping[str, str], nodes: int, newest: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and newest.poll() is None:
        done = subprocess.run([str(RAY), "status"], capture_output=True, text=True, check=False, env=dict(environment))
        if done.stdout.count(" node_") >= nodes:
            return
        time.sleep(1)
    log = (folder / f"node{nodes - 1}.log").read_text()
    raise RuntimeError(f"node {nodes - 1} did not start:\n{log[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop `ray start --block`, which stops what it started; whatever is left of its session goes after a while."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _tls(folder: Path) -> dict[str, str]:
    tool, ca, node = ROOT / "cluster" / "node-cert.sh", folder / "ca", folder / "tls"
    subprocess.run([str(tool), "ca", str(ca)], check=True)
    subprocess.run([str(tool), "node", str(ca), str(node), ray.util.get_node_ip_address()], check=True)
    return {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(node / "tls.crt"),
        "RAY_TLS_SERVER_KEY": str(node / "tls.key"),
        "RAY_TLS_CA_CERT": str(ca / "ca.crt"),
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
