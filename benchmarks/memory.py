"""How much memory does a training worker take, by ZeRO stage and number of workers?

    python benchmarks/memory.py            # two and four workers, a UNet of 66 million parameters
    python benchmarks/memory.py --last     # print the stored figures without running

Each layout trains two steps of one UNet from scratch, float32, by `pd.engine.training.loop`, its ranks in plain processes
(Ray's own are as large at every stage). The last rank is weighed in its second step, after backward and before the optimiser
steps, which is when most is held: the bytes of all live tensors, told apart into weights, optimiser (moments, and ZeRO's copy
of the weights), average, and the rest, which are gradients and ZeRO's buckets. Beside them, the peak of its resident memory
less what the process had before it began: allocation, activations, and the moment in which a worker builds the whole model
before ZeRO cuts it up, are in that. Ranks allocate as pd's workers do (`pd.engine.cpu.allocator`), and each takes its rows one
by one, so that gradients add up, which stage 1 does with all of them and stage 2 with its part.

Stage 0 is weighed as it is on GPUs and on several machines. Ranks on CPUs of one machine share their weights there, and each
steps a part of them: together they then hold what those of stage 1 do.

ZeRO reduces gradients in buckets of up to 50 million elements (`training.engine.bucket`), so a model must be larger
than one to show what the stages bring.
"""

import argparse
import gc
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import psutil
from harness import print_last, store
from rich.console import Console
from rich.table import Table
from torch import Tensor, multiprocessing

# plain_ranks, small_training: as the tests have them
sys.path.insert(1, str(Path(__file__).parent.parent / "tests" / "engine"))

from plain_ranks import Plain, give_inputs, join
from small_training import DATA, SEED, pictures, settings

from pd.diffusion.presets import UNETS
from pd.engine.cpu import flat as train_flat
from pd.engine.cpu.allocator import keeping_memory
from pd.engine.training import loop as train_loop
from pd.engine.training.definition import Job
from pd.engine.training.engine import TrainEngine

STAGES = (0, 1, 2, 3)
KINDS = ("weights", "optimiser", "average", "rest")
MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--channels", type=int, nargs="+", default=[256, 512], help="of the UNet's levels")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("memory")
        return
    table = Table(title="MB of a worker")
    for heading in ("workers", "ZeRO", *KINDS, "all tensors", "of stage 0", "peak resident"):
        table.add_column(heading, justify="right")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for workers in arguments.workers:
        stages = found[str(workers)] = {}
        for stage in STAGES:
            stages[str(stage)] = weighed = weigh(workers, stage, arguments.channels, arguments.batch)
            share = f"{weighed['tensors'] / stages['0']['tensors']:.0%}"
            cells = (f"{weighed[kind]:.0f}" for kind in (*KINDS, "tensors"))
            table.add_row(str(workers), str(stage), *cells, share, f"{weighed['peak']:.0f}")
    Console(width=110, stderr=True).print(table)
    parameters = next(iter(found.values()))["0"]["weights"] * MB / 4
    held = [[stages[str(stage)][kind] for stage in STAGES] for stages in found.values() for kind in ("tensors", "peak")]
    falls = all(more > less for row in held for more, less in pairwise(row))
    store(
        "memory",
        {"mb_by_workers_and_stage": found, "falls_with_the_stage": falls, "parameters": round(parameters)}
        | {name: getattr(arguments, name) for name in ("channels", "batch")},
    )


def weigh(workers: int, stage: int, channels: list[int], batch: int) -> dict[str, float]:
    """Megabytes of the last of so many ranks."""
    os.environ |= keeping_memory()  # of the processes that start now
    with tempfile.TemporaryDirectory(prefix="pdm-") as folder:
        multiprocessing.spawn(rank_of, (workers, stage, channels, batch, Path(folder)), nprocs=workers)
        return dict(json.loads((Path(folder) / "weighed.json").read_text(encoding="utf-8")))


def rank_of(rank: int, workers: int, stage: int, channels: list[int], batch: int, folder: Path) -> None:
    """One process of `weigh`."""
    importlib.import_module("deepspeed")  # what it takes by itself is not the stage's
    train_flat.shared_between_ranks = lambda shape: None
    join(rank, workers, folder / "store")
    levels = len(channels)
    UNETS["medium"] |= {
        "block_out_channels": tuple(channels),
        "down_block_types": ("CrossAttnDownBlock2D",) * levels,
        "up_block_types": ("CrossAttnUpBlock2D",) * levels,
    }
    chosen = settings(
        unet="medium",
        steps=4,
        batch=batch,
        workers=workers,
        micro_batch=1,
        zero_stage=stage,
        train_text_encoder="frozen",
        precision="fp32",
    )
    job = Job(chosen, DATA, SEED, folder / "job")
    give_inputs(job, pictures())
    before = psutil.Process().memory_info().rss

    class Weighed(TrainEngine):
        """Weighs itself in the second step, and ends the training."""

        def begin(self, step: int) -> None:
            super().begin(step)
            if step == 1:
                self.engine.step = self.weigh

        def weigh(self) -> None:
            if rank == workers - 1:
                figures = {kind: size / MB for kind, size in tensors_of(self).items()}
                peak = (peak_resident() - before) / MB
                text = json.dumps(figures | {"tensors": sum(figures.values()), "peak": peak})
                (folder / "weighed.json").write_text(text, encoding="utf-8")
            raise InterruptedError

    train_loop.TrainEngine = Weighed
    try:
        train_loop.train_loop(job, Plain(job.folder))
    except InterruptedError:
        os._exit(0)  # the others may be gone: no farewell


def tensors_of(engine: TrainEngine) -> dict[str, int]:
    """Bytes of all live tensors by kind; what shares storage counts once."""
    trained = [parameter for parameter in engine.engine.module.parameters() if parameter.requires_grad]
    masters = engine._masters()
    moments = [tensor for master in masters for tensor in engine._moments(master).values()]
    everything = [found for found in gc.get_objects() if issubclass(type(found), Tensor)]  # isinstance would wake lazy modules
    kinds: dict[str, list[Tensor]] = {
        "weights": [tensor for parameter in trained for tensor in (parameter.data, getattr(parameter, "ds_tensor", None))],
        "optimiser": [*masters, *moments],
        "average": engine.ema.averages,
        "rest": [*everything, *(parameter.grad for parameter in trained)],  # gradients may be known to autograd alone
    }
    seen: set[int] = set()
    return {kind: _bytes(tensors, seen) for kind, tensors in kinds.items()}


def _bytes(tensors: Iterable[Tensor | None], seen: set[int]) -> int:
    """Of the storages behind these tensors that are not among those seen before."""
    total = 0
    for tensor in tensors:
        if tensor is None or tensor.device.type != "cpu":
            continue
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return total


def peak_resident() -> int:
    """The most resident memory that this process has had, in bytes; that of whoever started it is not in it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
