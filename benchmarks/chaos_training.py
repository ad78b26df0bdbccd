"""Faults while a model is trained by two workers: a node, the driver, a worker, and a checkpoint that rots."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import ray
from chaos_stream import Result, cluster, run
from small_training import LONG, apart, settings, train, weights
from torch import Tensor

TWO = {"workers": [1, 2], "cpus_per_worker": 1}
HERE = Path(__file__).parent


def node_killed_while_training(root: Path) -> Result:
    expected = _undisturbed(root)
    with cluster(nodes=2) as made:
        plain, _ = run(lambda: train(root / "plain", settings(**LONG, **TWO)))
        killer = _when_checkpointed(root / "out", lambda: made.remove_node(made.worker_nodes[-1], allow_graceful=False))
        seconds, ended = run(lambda: train(root / "out", settings(**LONG, **TWO)))
        killer.join(60)
    return _judged(root, expected, ended, seconds, plain)


def worker_killed_while_training(root: Path) -> Result:
    expected = _undisturbed(root)
    with cluster(nodes=2) as made:
        del made
        plain, _ = run(lambda: train(root / "plain", settings(**LONG, **TWO)))
        killer = _when_checkpointed(root / "out", lambda: _workers()[-1].kill())
        seconds, ended = run(lambda: train(root / "out", settings(**LONG, **TWO)))
        killer.join(60)
    return _judged(root, expected, ended, seconds, plain)


def driver_killed_while_training(root: Path) -> Result:
    expected = _undisturbed(root)
    code = (
        "import sys, pathlib; sys.path[:0] = sys.argv[1].split(':'); import small_training as t;"
        "t.train(pathlib.Path(sys.argv[2]), t.settings(workers=2, cpus_per_worker=0.5, zero_stage=2,"
        f" **{LONG!r}))"
    )
    tests = f"{HERE.parent / 'tests' / 'engine'}:{HERE.parent / 'tests'}"

    def start(out: Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", code, tests, str(out)])

    begin = time.monotonic()
    assert start(root / "plain").wait(300) == 0
    plain, begin = time.monotonic() - begin, time.monotonic()
    driver = start(root / "out")
    _wait_for_checkpoint(root / "out")
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    assert not psutil.wait_procs(family, timeout=120)[1], "Ray outlives its driver"
    assert start(root / "out").wait(300) == 0
    return _judged(root, expected, "exit -9, then finished", time.monotonic() - begin, plain)


def _undisturbed(root: Path) -> dict[str, Tensor]:
    train(root / "alone", settings(**LONG))
    return weights(root / "alone" / "out")


def _workers() -> list[psutil.Process]:
    """The training's workers, of any raylet that this process has started."""
    mine = [
        process for process in psutil.process_iter(["cmdline"]) if "RayTrainWorker" in " ".join(process.info["cmdline"] or [])
    ]
    ours = ray.get_runtime_context().gcs_address
    return [process for process in mine if any(ours in " ".join(parent.cmdline()) for parent in process.parents()[:1])]


def _wait_for_checkpoint(folder: Path) -> None:
    deadline = time.monotonic() + 300
    while len(list((folder / "work").glob("*/checkpoint_*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _when_checkpointed(folder: Path, strike: Callable[[], object]) -> threading.Thread:
    def wait() -> None:
        _wait_for_checkpoint(folder)
        strike()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def _judged(root: Path, expected: dict[str, Tensor], ended: str, seconds: float, plain: float) -> Result:
    found = weights(root / "out" / "out")
    distance = apart(found, expected)
    same = distance < 1e-4
    return {
        "faults": 1,
        "survived": int(same),
        "rows_lost": 0,
        "rows_doubled": 0,
        "time_lost": round(max(seconds - plain, 0.0), 1),
        "ended": f"{ended}; weights apart {distance:.1e}",
    }
