"""How much memory does a training worker take, by ZeRO stage and number of workers?

    python benchmarks/memory.py
    python benchmarks/memory.py --last     # print the stored figures without running

Trains a few steps of one UNet from scratch through `pd.engine.train` (Ray Train, DeepSpeed), float32, each layout on a Ray of
its own. Told is the peak resident memory of the largest worker, less that of a training of the `tiny` UNet with as many workers
at stage 0: what Python, torch, Ray and DeepSpeed take by themselves.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import print_last, store
from rich.console import Console
from rich.table import Table
from training import SEED, faces

from pd.config import ModelSettings
from pd.engine.train import train_model

STAGES = (0, 1, 2, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--unet", choices=("small", "medium"), default="medium")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--one", nargs=3, metavar=("UNET", "WORKERS", "STAGE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("memory")
        return
    if arguments.one:
        unet, workers, stage = arguments.one
        print(json.dumps(one(unet, int(workers), int(stage), arguments)))
        return
    table = Table(title=f"{arguments.unet} UNet, batch {arguments.batch}: MB of the largest worker above an almost empty one's")
    table.add_column("workers", justify="right")
    for stage in STAGES:
        table.add_column(f"ZeRO {stage}", justify="right")
    found: dict[str, dict[str, float]] = {}
    for workers in arguments.workers:
        empty = alone("tiny", workers, 0)
        peaks = {str(stage): alone(arguments.unet, workers, stage) for stage in STAGES}
        found[str(workers)] = {stage: round(1000 * (peak - empty)) for stage, peak in peaks.items()} | {
            "empty": round(1000 * empty)
        }
        table.add_row(str(workers), *(f"{found[str(workers)][str(stage)]:.0f}" for stage in STAGES))
    Console().print(table)
    shape = {name: getattr(arguments, name) for name in ("unet", "batch", "steps")}
    store("memory", {"mb_by_workers_and_stage": found} | shape)


def alone(unet: str, workers: int, stage: int) -> float:
    """GB of one layout, in a process of its own."""
    command = [sys.executable, *sys.argv, "--one", unet, str(workers), str(stage)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{workers} workers, stage {stage} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def one(unet: str, workers: int, stage: int, arguments: argparse.Namespace) -> float:
    chosen = ModelSettings.model_validate(
        {"unet": unet, "batch": arguments.batch, "steps": arguments.steps, "workers": workers, "cpus_per_worker": 0.4}
        | {"train_text_encoder": "frozen", "zero_stage": stage, "checkpoint_every": 10**9, "samples_every": 0}
    )
    with tempfile.TemporaryDirectory() as work:
        images, shape = faces(32, Path(work))
        facts = train_model(chosen, shape, images, Path(work) / "out", Path(work) / "work", SEED)
    return float(facts["memory_gb"])


if __name__ == "__main__":
    main()
