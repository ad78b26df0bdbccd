"""Does the stream keep many workers busy? Actors that sleep as long as a batch takes a GPU, up to 64 of them on 8 raylets.

    python benchmarks/scale.py                      # 64 actors on 8 raylets, 10 million ids, about eight minutes on two cores
    python benchmarks/scale.py --actors 8 --raylets 2 --images 100000
    python benchmarks/scale.py --last               # print the stored figures without running

A SIMULATION: one machine of two cores stands for eight, and no actor computes. What is real is everything else: the code that
hands out shards (`make_shards` of `pd.engine.stream.candidates`), Ray Data, Ray, the processes, the files and marks that each
shard leaves. A shard takes an actor `--seconds`: 1,024 ids in two seconds are batches of 64 in 125 ms, a quarter of what one
takes a CPU thread (`stream.py --last`); no GPU was at hand to measure. Slower batches are easier.

Ideal are shards x seconds / actors; efficiency is ideal over measured, from the moment when every actor has begun until the
last shard is there (what starting the actors took is told apart). Memory of the driver: the largest of the second half of
that time over the largest of the first.
"""

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from harness import print_last, store
from rich.console import Console
from rich.table import Table

from pd.config import GenerateSettings
from pd.engine.stream.shards import MARKS, Mark, Shard, plan
from pd.engine.stream.work import done_row
from pd.store.atomic import write_bytes, write_json

STORE = 100 << 20  # bytes of object store on each raylet


class Sleeper:
    """A worker of the stream that sleeps instead of sampling, and leaves a file and a mark as others do."""

    def __init__(
        self, seconds: float, begun: Path, reid: Path, gallery: Path, settings: GenerateSettings, out: Path, inputs: str
    ) -> None:
        self.seconds, self.out, self.inputs = seconds, out, inputs
        (begun / str(os.getpid())).touch()

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        import hashlib

        shard = Shard.of(row)
        time.sleep(self.seconds)
        data = f"{shard.start} {shard.stop}".encode()
        write_bytes(self.out / f"{shard.name}.parquet", data)
        digest = hashlib.sha256(data).hexdigest()
        mark = Mark(shard.index, shard.start, shard.stop, digest, len(data), self.inputs, {"sample": self.seconds}, [])
        write_json(self.out / MARKS / f"{shard.name}.json", asdict(mark))
        return done_row(mark, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--actors", type=int, default=64)
    parser.add_argument("--raylets", type=int, default=8)
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--shard", type=int, default=1024, help="ids of a shard")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a shard takes an actor")
    parser.add_argument("--dry", action="store_true", help="store nothing")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("scale")
        return
    with tempfile.TemporaryDirectory(prefix="pds-") as scratch:
        os.environ["RAY_TMPDIR"] = scratch
        figures = _measure(arguments, Path(scratch))
    table = Table("", "", title=f"{arguments.actors} sleeping actors on {arguments.raylets} raylets (simulated)")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console(width=100, stderr=True).print(table)
    if not arguments.dry:
        store("scale", figures)


def _measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    import ray
    from ray.cluster_utils import Cluster

    from pd.engine.stream.candidates import make_shards

    each = -(-arguments.actors // arguments.raylets)
    # No idle process for each CPU, and one at a time on each raylet: 64 at once on two cores take so long that Ray gives up.
    few = {"prestart_worker_first_driver": False, "enable_worker_prestart": False, "worker_maximum_startup_concurrency": 1}
    few |= {"worker_register_timeout_seconds": 600}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE, "_system_config": few})
    for _ in range(arguments.raylets):
        made.add_node(num_cpus=each, object_store_memory=STORE)
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    begun, out = scratch / "begun", scratch / "out"
    begun.mkdir()
    shards = plan(arguments.images, arguments.shard, arguments.shard)
    watch = _Watch(begun, arguments.actors)
    settings = GenerateSettings(
        candidates=arguments.images, shard_size=arguments.shard, batch=arguments.shard, workers=arguments.actors
    )
    begin = time.monotonic()
    try:
        facts = make_shards(
            Sleeper,
            {"seconds": arguments.seconds, "begun": begun},
            shards,
            asdict,
            reid=scratch,
            gallery=scratch,
            settings=settings,
            out=out,
            inputs="scale",
            address=None,
            progress=watch,
        )
    finally:
        watch.over.set()
        ray.shutdown()
        made.shutdown()
        shutil.rmtree(out, ignore_errors=True)
    if watch.full is None:
        sys.exit(f"only {len(watch.actors)} of {arguments.actors} actors ever began")
    (full, done_then), (end, done) = watch.full, watch.last
    steady = (done - done_then) / arguments.shard * arguments.seconds / arguments.actors / (end - full)
    whole = len(shards) * arguments.seconds / arguments.actors / (end - begin)
    return {
        "efficiency": round(steady, 4),
        "driver_rss_growth": round(watch.growth(full), 4),
        "efficiency_with_start": round(whole, 4),
        "start_s": round(full - begin, 1),
        "seconds": round(end - begin, 1),
        "actors": len(watch.actors),
        "raylets": arguments.raylets,
        "images": facts["made"],
        "shards": len(shards),
        "seconds_of_a_shard": arguments.seconds,
        "driver_mib": round(max(size for _, size in watch.sizes) / 2**20),
        "simulated": "actors sleep; the cluster is raylets on one machine",
    }


class _Watch:
    """The stream's progress, and the driver's memory once a second."""

    def __init__(self, begun: Path, wanted: int) -> None:
        self.begun, self.wanted = begun, wanted
        self.full: tuple[float, int] | None = None  # when every actor had begun, and the images done by then
        self.last = (0.0, 0)
        self.actors: list[str] = []
        self.sizes: list[tuple[float, int]] = []
        self.over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, done: int, total: int, info: Mapping[str, object]) -> None:
        self.last = (time.monotonic(), done)

    def growth(self, since: float) -> float:
        """The driver's largest size in the second half of the time, over that of the first, less one."""
        sizes = [size for moment, size in self.sizes if moment >= since]
        half = len(sizes) // 2
        return max(sizes[half:]) / max(sizes[:half]) - 1

    def _watch(self) -> None:
        driver = psutil.Process()
        while not self.over.wait(1.0):
            self.sizes.append((time.monotonic(), driver.memory_info().rss))
            if self.full is None:
                self.actors = os.listdir(self.begun)
                if len(self.actors) >= self.wanted:
                    self.full = (time.monotonic(), self.last[1])


if __name__ == "__main__":
    main()
