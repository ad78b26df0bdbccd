"""What does Ray cost the stream? The same shards made by one Ray Data actor and by a plain loop in one process.

Both run the same code on the same batches with one thread. Time is fitted as fixed + marginal x N over several N, so that
starting Ray and loading models are told apart from what each further image costs; peak memory is compared at the largest N
and at half of it.

    python benchmarks/stream.py --run runs/faces     # a finished run, whose teacher, network and gallery are used
    python benchmarks/stream.py --last               # print the stored figures without running
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from harness import Peak, print_last, store
from rich.console import Console
from rich.table import Table

from pd.config import GenerateSettings, load_settings
from pd.dataset.private import PrivateDataset
from pd.engine.stream.shards import plan
from pd.filters.captions import prompts_of
from pd.progress import silent
from pd.store.run import Run

ROOT = Path(__file__).parent.parent
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "faces", help="folder of a finished run")
    parser.add_argument("--images", type=int, nargs="+", default=[1024, 2048, 4096], help="three N or more")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2, help="sampler steps: sets what a batch costs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=("raw", "ray"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("stream")
    elif arguments.part:
        print(json.dumps(_measure(arguments, arguments.images[0])))
    else:
        _compare(arguments)


def _compare(arguments: argparse.Namespace) -> None:
    """Interleave both ways over all N, each in a process of its own, and fit."""
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(arguments.repeats):
        for n in arguments.images:
            for part in ("raw", "ray"):
                words = ["--run", arguments.run, "--batch", arguments.batch, "--steps", arguments.steps]
                command = [sys.executable, __file__, "--part", part, "--images", n, *words]
                done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr[-2000:])
                found.setdefault((part, n), []).append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{part} {n}: {found[part, n][-1]['seconds']:.1f} s", file=sys.stderr)
    seconds = {key: median(run["seconds"] for run in runs) for key, runs in found.items()}
    fits = {part: np.polyfit(arguments.images, [seconds[part, n] for n in arguments.images], 1) for part in ("raw", "ray")}
    table = Table(title=f"one worker, one thread, batches of {arguments.batch}, medians of {arguments.repeats}")
    for heading in ("", *(f"{n} images" for n in arguments.images), "fixed s", "ms per image"):
        table.add_column(heading, justify="right")
    for part, (marginal, fixed) in fits.items():
        cells = [f"{seconds[part, n]:.1f} s" for n in arguments.images]
        table.add_row(part, *cells, f"{fixed:.1f}", f"{1000 * marginal:.2f}")
    Console(width=110).print(table)
    half, whole = sorted(arguments.images)[-2:]
    peak = {
        name: {n: median(run[name] for run in found["ray", n]) for n in (half, whole)} for name in ("driver_mib", "worker_mib")
    }
    store(
        "stream",
        {
            "ray_vs_raw": round(float(fits["raw"][0] / fits["ray"][0]), 3),
            "fixed_s": round(float(fits["ray"][1]), 1),
            "rss_growth": round(max(sizes[whole] / sizes[half] - 1 for sizes in peak.values()), 3),
            "batch_ms": round(float(1000 * fits["raw"][0] * arguments.batch), 0),
            "seconds": {f"{part} {n}": round(value, 2) for (part, n), value in seconds.items()},
            "peak_mib": {name: {str(n): round(size) for n, size in sizes.items()} for name, sizes in peak.items()},
        },
    )


def _measure(arguments: argparse.Namespace, n: int) -> dict[str, float]:
    """Make n candidates one way, in this process or in an actor of it; seconds and peak resident memory."""
    run = Run(arguments.run)
    settings = load_settings(run.private / "settings.yaml")
    how = GenerateSettings(candidates=n, sampler_steps=arguments.steps, batch=arguments.batch, shard_size=256, workers=1)
    prompts = prompts_of(PrivateDataset.read(run.dataset), settings)
    mode = settings.data.mode
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch, Peak() as peak:
        out = Path(scratch) / "made"
        if arguments.part == "ray":
            from pd.engine.stream.candidates import generate

            generate(
                teacher=run.teacher,
                reid=run.reid,
                gallery=run.reid,
                prompts=prompts,
                settings=how,
                seed=SEED,
                mode=mode,
                out=out,
                address=None,
                progress=silent,
            )
        else:
            from pd.engine.stream.generator import Generator

            out.mkdir()
            maker = Generator(run.teacher, run.reid, run.reid, prompts, how, SEED, mode, out, inputs="", preview=None)
            for shard in plan(n, how.shard_size, how.batch):
                maker({"index": shard.index, "start": shard.start, "stop": shard.stop})
    return {"seconds": time.perf_counter() - begin, **peak.mib}


if __name__ == "__main__":
    main()
