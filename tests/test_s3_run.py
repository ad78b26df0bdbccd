"""A whole run in a bucket, on machines that share nothing else: killed, gone on with elsewhere, and the same as on a disk."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket import BUCKET, Server, s3_server
from ray.cluster_utils import Cluster
from terminal import PD, ROOT, pd

from pd.config.mirrored import mirrored
from pd.store.mirror import listing

STORE = 2**27  # bytes of each node's object store
RANKS = "{unet: tiny, steps: 20, batch: 16, warmup: 5, checkpoint_every: 10, workers: 2, cpus_per_worker: 1}"
SETTINGS = [f"teacher={RANKS}", f"student={RANKS}", "audit.samples=32", "generate.candidates=128", "generate.shard_size=16"]
TRAINED = ["ingest", "reid", "teacher", "generate", "filter", "student"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with s3_server() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def nodes(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A head without CPUs and two nodes with room for one actor or rank each; every one has a mirror of its own."""
    folder = tempfile.mkdtemp(prefix="pd")  # short: sockets lie in it
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("RAY_worker_niceness", "0")  # as pd has it: Ray's own is left nothing beside other tests
    mirror = {name: {"env_vars": {"PD_MIRROR": str(tmp_path / name)}} for name in ("head", "one", "two")}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE, **mirror["head"]})
    try:
        for name in ("one", "two"):
            made.add_node(num_cpus=1, object_store_memory=STORE, **mirror[name])
        monkeypatch.setenv("RAY_ADDRESS", made.address)
        yield
    finally:
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def words(runs: str) -> list[str]:
    return ["configs/smoke.yaml", *(word for one in (f"runs={runs}", *SETTINGS) for word in ("--set", one))]


def outputs(root: Path) -> dict[str, str]:
    """Digests of all that the first stages made, as their records have them."""
    records = [json.loads((root / "private" / ".stages" / f"{stage}.json").read_text()) for stage in TRAINED]
    return {name: digest for record in records for name, digest in record["outputs"].items()}


@pytest.mark.exhaustive
def test_a_run_that_was_killed_goes_on_from_the_bucket_alone(
    nodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PD_MIRROR", str(tmp_path / "driver"))
    url = f"s3://{BUCKET}/runs"
    marks = mirrored(url) / "smoke" / ".commits" / "private" / "generated" / ".done"
    driver = subprocess.Popen([str(PD), "run", *words(url)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    begin = time.monotonic()
    while not listing(marks):
        assert driver.poll() is None, driver.stderr and driver.stderr.read()
        assert time.monotonic() - begin < 900
        time.sleep(0.5)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    monkeypatch.setenv("PD_MIRROR", str(tmp_path / "another driver"))
    refused = pd("run", *words(url))
    assert refused.returncode == 2
    assert "was killed a moment ago" in refused.stderr
    time.sleep(65)
    done = pd("run", *words(url), timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "teacher:" not in done.stderr  # it was finished
    assert f"{url}/smoke/release" in done.stdout
    again = pd("status", f"{url}/smoke")
    assert again.stdout.count("│ done") == 10, again.stdout
    here = mirrored(url) / "smoke"
    assert json.loads((here / "private" / ".stages" / "generate.json").read_text())["facts"]["made"] < 128

    command = f"from pd.config import load_settings; from pd.pipeline import run_pipeline; from pd.progress import Reporter; \
from pathlib import Path; \
run_pipeline(load_settings(Path('configs/smoke.yaml'), {[f'runs={tmp_path}', *SETTINGS]}), Reporter(), {TRAINED})"
    subprocess.run([sys.executable, "-c", command], check=True, cwd=ROOT, timeout=1800)
    assert outputs(here) == outputs(tmp_path / "smoke")
    secrets = [os.environ["AWS_ACCESS_KEY_ID"].encode(), os.environ["AWS_SECRET_ACCESS_KEY"].encode()]
    files = [path for name in ("driver", "another driver", "one", "two") for path in (tmp_path / name).rglob("*")]
    assert len({path.parts[len(tmp_path.parts)] for path in files}) == 4  # every machine had to fetch what it read
    assert not [path for path in files if path.is_file() and any(secret in path.read_bytes() for secret in secrets)]
