"""Faults while a model is trained by two workers: a node, the driver, a worker, and a checkpoint that rots."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import ray
from chaos_stream import STORE, Result, cluster, run
from small_training import LONG, apart, resumed_at, settings, train, weights
from torch import Tensor

from pd.engine.training.follow import MAX_FAILURES
from pd.errors import UserError

TWO = {"workers": [1, 2], "cpus_per_worker": 1}
TESTS = ":".join(str(Path(__file__).parents[1] / "tests" / folder) for folder in ("engine", "."))


def node_killed_while_training(root: Path) -> Result:
    expected = _undisturbed(root)
    with cluster(nodes=2) as made:
        plain, _ = run(lambda: train(root / "plain", settings(**LONG, **TWO)))
        struck = _when_checkpointed(root / "out", lambda: made.remove_node(next(iter(made.worker_nodes)), allow_graceful=False))
        seconds, ended = run(lambda: train(root / "out", settings(**LONG, **TWO)))
        struck()
    return _judged(root, expected, ended, seconds, plain)


def worker_killed_while_training(root: Path) -> Result:
    expected = _undisturbed(root)
    with cluster(nodes=2) as made:
        del made
        plain, _ = run(lambda: train(root / "plain", settings(**LONG, **TWO)))
        struck = _when_checkpointed(root / "out", lambda: _workers()[-1].kill())
        seconds, ended = run(lambda: train(root / "out", settings(**LONG, **TWO)))
        struck()
    return _judged(root, expected, ended, seconds, plain)


def worker_hangs_while_training(root: Path) -> Result:
    """One worker is stopped and answers nobody; the other waits for it."""
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = "15"  # ten minutes are too long to watch here
    expected = _undisturbed(root)
    stopped: list[psutil.Process] = []

    def stop() -> None:
        stopped.append(_workers()[-1])
        stopped[0].suspend()

    with cluster(nodes=2):
        plain, _ = run(lambda: train(root / "plain", settings(**LONG, **TWO)))
        struck = _when_checkpointed(root / "out", stop)
        try:
            seconds, ended = run(lambda: train(root / "out", settings(**LONG, **TWO)))
        finally:
            with suppress(IndexError, psutil.Error):  # Ray should have ended it
                stopped[0].kill()
        struck()
    return _judged(root, expected, ended, seconds, plain)


def workers_killed_again_and_again(root: Path) -> Result:
    """More often than they are started again: one error, after which the same command finishes."""
    expected = _undisturbed(root)
    kills = MAX_FAILURES + 1
    with cluster(nodes=2):
        plain, _ = run(lambda: train(root / "plain", settings(**LONG, **TWO)))

        def kill_all() -> None:
            for kill in range(kills):
                while _resumed(root / "out") < kill:  # one that dies while it starts is not counted by Ray
                    time.sleep(0.05)
                _workers()[-1].kill()

        struck = _when_checkpointed(root / "out", kill_all)
        seconds, ended = run(lambda: train(root / "out", settings(**LONG, **TWO)))
        struck()
    assert ended != "finished", "they were started again for ever"
    return _judged(root, expected, ended, seconds, plain, faults=kills)


def node_gone_for_minutes_while_training(root: Path) -> Result:
    """Two workers are asked for and one machine is left: one error, and with a new machine the same command finishes."""
    expected = _undisturbed(root)
    fixed = LONG | TWO | {"workers": 2}
    code = (  # as `pd` does it, which leaves by `leave`; five minutes of patience are too long to watch here
        "import sys, pathlib; sys.path[:0] = sys.argv[1].split(':'); import small_training as t;"
        "from pd.cli.entry import leave; from pd.engine.stream import watch; from pd.errors import UserError\n"
        "watch.PATIENCE = 10.0\n"
        f"try: t.train(pathlib.Path(sys.argv[2]), t.settings(**{fixed!r}))\n"
        "except UserError as error: print(error, file=sys.stderr); leave(2)\n"
        "leave(0)"
    )
    with cluster(nodes=2) as made:
        plain, _ = run(lambda: train(root / "plain", settings(**fixed)))
        struck = _when_checkpointed(root / "out", lambda: made.remove_node(next(iter(made.worker_nodes)), allow_graceful=False))

        attempts: list[subprocess.CompletedProcess[str]] = []

        def attempt() -> None:
            if attempts:  # the first one was given up
                made.add_node(num_cpus=1, object_store_memory=STORE)
            words = [sys.executable, "-c", code, TESTS, str(root / "out")]
            there = os.environ | {"RAY_ADDRESS": made.address}
            attempts.append(subprocess.run(words, stderr=subprocess.PIPE, text=True, timeout=400, env=there, check=False))
            if attempts[-1].returncode == 2:
                raise UserError(attempts[-1].stderr.strip().splitlines()[-1])
            assert attempts[-1].returncode == 0, f"exit {attempts[-1].returncode}: {attempts[-1].stderr[-500:]}"

        seconds, ended = run(attempt)
        struck()
    assert ended != "finished", "it went on with too few"
    return _judged(root, expected, ended, seconds, plain)


def disk_full_while_training(root: Path) -> Result:
    """Something else takes all room between two checkpoints, and gives it back once the training has ended by it."""
    expected, disk = _undisturbed(root), root / "out"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m,mode=700", "none", str(disk)], check=True)
    taken = disk / "taken"

    def attempt() -> None:
        taken.unlink(missing_ok=True)
        train(disk, settings(**LONG, **TWO))

    def take() -> None:
        with suppress(OSError), taken.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**12))

    try:
        with cluster(nodes=2):
            plain, _ = run(lambda: train(root / "plain", settings(**LONG, **TWO)))
            struck = _when_checkpointed(disk, take)
            seconds, ended = run(attempt)
            struck()
        assert "No space" in ended, ended
        return _judged(root, expected, ended, seconds, plain)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def driver_killed_while_training(root: Path) -> Result:
    expected = _undisturbed(root)
    code = (
        "import sys, pathlib; sys.path[:0] = sys.argv[1].split(':'); import small_training as t;"
        "t.train(pathlib.Path(sys.argv[2]), t.settings(workers=2, cpus_per_worker=0.5, zero_stage=2,"
        f" **{LONG!r}))"
    )

    def start(out: Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", code, TESTS, str(out)])

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


def _resumed(folder: Path) -> int:
    """How often a training went on from a checkpoint."""
    try:
        return len(resumed_at(folder))
    except ValueError:  # a line half written
        return 0


def _wait_for_checkpoint(folder: Path) -> None:
    deadline = time.monotonic() + 300
    while len(list((folder / "work").glob("*/checkpoint_*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _when_checkpointed(folder: Path, strike: Callable[[], object]) -> Callable[[], None]:
    """Strike once there are checkpoints; what is returned asserts that it did: who was never struck survives."""
    done: list[bool] = []

    def wait() -> None:
        _wait_for_checkpoint(folder)
        strike()
        done.append(True)

    def struck() -> None:
        thread.join(60)
        assert done, "the fault did not strike"

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return struck


def _judged(root: Path, expected: dict[str, Tensor], ended: str, seconds: float, plain: float, faults: int = 1) -> Result:
    found = weights(root / "out" / "out")
    distance = apart(found, expected)
    same = distance < 1e-4
    return {
        "faults": faults,
        "survived": faults if same else 0,
        "time_lost": round(max(seconds - plain, 0.0), 1),
        "ended": f"{ended}; weights apart {distance:.1e}",
    }
