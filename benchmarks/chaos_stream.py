"""Faults while candidates are made: nodes, drivers, workers, clocks, the object store."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
import torch
from ray.cluster_utils import Cluster
from stream_world import SEED, SETTINGS, bytes_of, logging_preview, make, make_world, table_of, written

from pd.engine.stream import watch as stream_watch
from pd.engine.stream.generator import Generator
from pd.engine.stream.shards import plan
from pd.errors import UserError

Result = dict[str, Any]
NODES, STORE = 3, 2**27
MANY = 400  # candidates of a run that is killed from outside


def undisturbed(root: Path) -> tuple[Any, dict[str, str]]:
    """A teacher, a network and a gallery, and the digests of the shards that a plain loop makes with them."""
    world, out = make_world(root / "world"), root / "expected"
    out.mkdir()
    generator = Generator(world.teacher, world.reid, world.reid, world.prompts, SETTINGS, SEED, "grey", out, "", None)
    for shard in plan(SETTINGS.candidates, SETTINGS.shard_size, SETTINGS.batch):
        generator(asdict(shard))
    torch.set_num_threads(1)
    return world, bytes_of(out)


@contextlib.contextmanager
def cluster(nodes: int = NODES, cpus: float = 1, store: int = STORE) -> Iterator[Cluster]:
    """A head without CPUs, and so many nodes on this machine."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": store})
    for _ in range(nodes):
        made.add_node(num_cpus=cpus, object_store_memory=store)
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield made
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()
            made.shutdown()


def run(attempt: Callable[[], object]) -> tuple[float, str]:
    """Seconds until it is done, and how: `finished`, or `one error` and finished when called again."""
    begin, ended = time.monotonic(), "finished"
    try:
        attempt()
    except UserError as error:
        ended = f"error ({error.what[:60]}), then finished"
        attempt()
    return time.monotonic() - begin, ended


def judged(out: Path, expected: dict[str, str], ended: str, faults: int, seconds: float, plain: float) -> Result:
    """Whether the rows are those that they should be."""
    ids = Counter(table_of(out)["id"].to_pylist())
    wanted = {f"{sample:09d}" for sample in range(SETTINGS.candidates)}
    lost, doubled = len(wanted - ids.keys()), ids.total() - len(ids)
    same = bytes_of(out) == expected and not list(out.glob(".part*"))
    return {
        "faults": faults,
        "survived": faults if same else 0,
        "rows_lost": lost,
        "rows_doubled": doubled,
        "time_lost": round(max(seconds - plain, 0.0), 1),
        "ended": ended if same else f"WRONG after {ended}",
    }


def disturbed(root: Path, fault: Callable[[Cluster, Path], bool], faults: int = 1, store: int = STORE) -> Result:
    """Make the candidates on three nodes; `fault` is called after each shard with the log, until it has struck (True)."""
    world, expected = undisturbed(root)
    with cluster(store=store) as made:
        plain, _ = run(lambda: make(world, root / "plain", workers=NODES))
        log, struck = root / "log", []

        def strike(done: int, total: int, info: Any) -> None:
            if done >= 16 and len(struck) < faults and fault(made, log):
                struck.append(done)

        seconds, ended = run(lambda: make(world, root / "out", workers=0, progress=strike, preview=logging_preview(log)))
        assert len(struck) == faults, "the fault did not strike"
        return judged(root / "out", expected, ended, faults, seconds, plain)


def node_killed_while_generating(root: Path) -> Result:
    def kill(made: Cluster, log: Path) -> bool:
        last = written(log)[-1][2]
        (node,) = [node for node in made.worker_nodes if node.node_id == last]
        made.remove_node(node, allow_graceful=False)
        return True

    return disturbed(root, kill)


def two_nodes_killed_and_one_comes(root: Path) -> Result:
    def kill(made: Cluster, log: Path) -> bool:
        there = {node.node_id: node for node in made.worker_nodes}
        alive = [node for _, _, node in reversed(written(log)) if node in there]  # the first may have written all that there is
        made.remove_node(there[alive[0] if alive else next(iter(there))], allow_graceful=False)
        if len(made.worker_nodes) == 1:
            made.add_node(num_cpus=1, object_store_memory=STORE)
        return True

    return disturbed(root, kill, faults=2)


def worker_killed(root: Path) -> Result:
    def kill(made: Cluster, log: Path) -> bool:
        os.kill(written(log)[-1][1], signal.SIGKILL)
        return True

    return disturbed(root, kill)


def worker_hangs(root: Path) -> Result:
    stream_watch.HUNG, stream_watch.HUNG_TIMES, stream_watch.LOOK = 15.0, 0, 1.0  # ten minutes are too long to watch here

    stopped = []

    def stop(made: Cluster, log: Path) -> bool:
        stopped.append(written(log)[-1][1])
        os.kill(stopped[0], signal.SIGSTOP)
        return True

    try:
        return disturbed(root, stop)
    finally:
        with contextlib.suppress(ProcessLookupError):  # Ray should have ended it
            os.kill(stopped[0], signal.SIGKILL)


def object_store_filled(root: Path) -> Result:
    held = []

    def fill(made: Cluster, log: Path) -> bool:
        held.extend(ray.put(np.random.default_rng(i).bytes(8 << 20)) for i in range(24))  # 192 MB into a store of 80
        return True

    return disturbed(root, fill, store=80 << 20)


DRIVER = textwrap.dedent("""
    import copyreg, json, os, signal, sys, time
    from pathlib import Path
    skew = float(sys.argv[6])
    if skew:
        true, begin = time.time, time.monotonic()
        time.time = lambda: true() + (skew if time.monotonic() - begin > 3 else 0)  # this process's clock jumps after 3 s
        # Ray pickles the true one, which is no longer what its name says.
        copyreg.pickle(type(true), lambda f: (eval, ("__import__('time').time",)) if f is true else f.__reduce__())
    from pd.cli.entry import leave, stop
    from pd.config import GenerateSettings
    from pd.engine.stream.candidates import generate
    from pd.filters.prompts import Prompts
    from pd.progress import silent

    signal.signal(signal.SIGTERM, stop)
    os.umask(0o077)
    teacher, reid, out = (Path(word) for word in sys.argv[1:4])
    prompts = Prompts.from_json(json.loads(sys.argv[4]))
    settings = GenerateSettings.model_validate_json(sys.argv[5])
    try:
        generate(teacher=teacher, reid=reid, gallery=reid, prompts=prompts, settings=settings, seed=7, mode="grey",
                 out=out, address=None, progress=silent)
    except KeyboardInterrupt:
        leave(130)
""")


def driver(world: Any, out: Path, candidates: int, skew: float = 0.0) -> "subprocess.Popen[bytes]":
    """A process that makes candidates on a Ray of its own."""
    import json

    settings = SETTINGS.model_copy(update={"candidates": candidates, "workers": 2})
    words = [world.teacher, world.reid, out, json.dumps(world.prompts.to_json()), settings.model_dump_json(), skew]
    return subprocess.Popen([sys.executable, "-c", DRIVER, *map(str, words)])


def _driver_ends_by(root: Path, number: signal.Signals) -> Result:
    world, expected = undisturbed(root)
    begin = time.monotonic()
    assert driver(world, root / "plain", SETTINGS.candidates).wait(LIMIT) == 0
    plain, begin = time.monotonic() - begin, time.monotonic()
    process = driver(world, root / "out", MANY)
    while len(list((root / "out").glob(".done/*.json"))) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    code = process.wait(60)
    assert code == (130 if number == signal.SIGTERM else -number), code
    assert not psutil.wait_procs(family, timeout=120)[1], "Ray outlives its driver"
    assert driver(world, root / "out", SETTINGS.candidates).wait(LIMIT) == 0
    return judged(root / "out", expected, f"exit {code}, then finished", 1, time.monotonic() - begin, plain)


LIMIT = 300


def driver_killed_while_generating(root: Path) -> Result:
    return _driver_ends_by(root, signal.SIGKILL)


def driver_told_to_end(root: Path) -> Result:
    return _driver_ends_by(root, signal.SIGTERM)


def clock_jumps(root: Path) -> Result:
    """The driver's clock (Python's) jumps a day ahead in one run and a day back in the next; files get times of the future."""
    world, expected = undisturbed(root)
    begin = time.monotonic()
    assert driver(world, root / "plain", SETTINGS.candidates).wait(LIMIT) == 0
    plain, begin = time.monotonic() - begin, time.monotonic()
    assert driver(world, root / "out", SETTINGS.candidates, skew=86_400.0).wait(LIMIT) == 0
    seconds = time.monotonic() - begin
    for at, path in enumerate(sorted((root / "out").rglob("part-*"))):
        moment = time.time() + (1 - 2 * (at % 2)) * 86_400
        os.utime(path, (moment, moment))
    (root / "out" / "part-00002.parquet").unlink()  # something is left to do
    assert driver(world, root / "out", SETTINGS.candidates, skew=-86_400.0).wait(LIMIT) == 0
    return judged(root / "out", expected, "finished", 2, seconds, plain)
