"""Is our sampler faster than the stock pipeline, for the same images? Interleaved medians on the same weights.

    python benchmarks/sampling.py --model runs/faces/release/model
    python benchmarks/sampling.py --last     # print the stored figures without running

Both get the same threads, prompts, first noise, solver, steps, guidance and batch: one thread, which is what a worker of the
stream has, and all of them. The stock pipeline is given its noise as `latents` and its images as arrays, so that neither pays
for PNG. Processor time is given too, which other work on the machine disturbs less. `generate.precision: bf16` is timed beside
it, against the stock pipeline in float32: not quite the same images.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from harness import print_last, store
from rich.console import Console
from rich.table import Table

from pd.dataset.images import Mode
from pd.diffusion.sampler import Sampler, noise

ROOT = Path(__file__).parent.parent
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--model", type=Path, default=ROOT / "runs" / "faces" / "release" / "model")
    parser.add_argument("--mode", choices=("grey", "rgb"), default="grey")
    parser.add_argument("--prompt", nargs="+", default=["a photo of a face", "a photo of a face with glasses"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 1.5])
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, torch.get_num_threads()}))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("sampling")
        return
    torch.set_grad_enabled(False)
    table = Table(title=f"{arguments.batch} images, {arguments.steps} steps, {arguments.device}")
    speeds = ("pd ms/image", "diffusers", "pd bf16", "vs_diffusers", "bf16", "processor time", "bf16")
    for heading in ("threads", "guidance", *speeds, "grey levels", "bf16"):
        table.add_column(heading, justify="right")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        found[str(threads)] = {f"{guidance:g}": compare(arguments, guidance, table) for guidance in arguments.guidance}
    Console(width=150).print(table)
    ratios = {threads: {key: row["vs_diffusers"] for key, row in rows.items()} for threads, rows in found.items()}
    store(
        "sampling",
        {"vs_diffusers": ratios, "by_threads_and_guidance": found}
        | {"batch": arguments.batch, "steps": arguments.steps, "device": arguments.device, "repeats": arguments.repeats},
    )


def compare(arguments: argparse.Namespace, guidance: float, table: Table) -> dict[str, float]:
    """One row, at one guidance scale; refuses to time samplers that make different images."""
    mode: Mode = arguments.mode
    ids = list(range(arguments.batch))
    prompts = [arguments.prompt[i % len(arguments.prompt)] for i in ids]

    def ours(precision: Literal["fp32", "bf16"]) -> Callable[[], np.ndarray]:
        sampler = Sampler(arguments.model, mode=mode, batch=arguments.batch, device=arguments.device, precision=precision)
        return lambda: sampler.sample(ids, prompts, SEED, arguments.steps, guidance)

    runs = {"ours": ours("fp32"), "stock": stock(arguments, prompts, guidance), "bf16": ours("bf16")}
    images = {name: run().astype(int) for name, run in runs.items()}  # which also warms up
    differences = {name: np.abs(images[name] - images["stock"]) for name in ("ours", "bf16")}
    if differences["ours"].max() > 2:
        raise SystemExit(f"guidance {guidance}: the samplers differ by {differences['ours'].max()} grey levels")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.repeats):
        for name, run in runs.items():
            begin, begin_busy = time.perf_counter(), time.process_time()
            run()
            seconds[name].append(time.perf_counter() - begin)
            busy[name].append(time.process_time() - begin_busy)
    cost = {name: 1000 * float(np.median(values)) / arguments.batch for name, values in seconds.items()}
    ratio, rough = cost["stock"] / cost["ours"], cost["stock"] / cost["bf16"]
    used = {name: 1000 * float(np.median(values)) / arguments.batch for name, values in busy.items()}
    table.add_row(
        str(torch.get_num_threads()),
        f"{guidance:g}",
        *(f"{cost[name]:.1f}" for name in runs),
        f"{ratio:.2f}",
        f"{rough:.2f}",
        f"{used['stock'] / used['ours']:.2f}",
        f"{used['stock'] / used['bf16']:.2f}",
        *(f"{differences[name].max()} (mean {differences[name].mean():.3f})" for name in ("ours", "bf16")),
    )
    return {
        "vs_diffusers": round(ratio, 3),
        "bf16_vs_diffusers": round(rough, 3),
        "processor_vs_diffusers": round(used["stock"] / used["ours"], 3),
        "processor_bf16_vs_diffusers": round(used["stock"] / used["bf16"], 3),
        **{f"{name}_ms_per_image": round(value, 2) for name, value in cost.items()},
        **{f"{name}_processor_ms_per_image": round(value, 2) for name, value in used.items()},
        "largest_difference": int(differences["ours"].max()),
        "bf16_largest_difference": int(differences["bf16"].max()),
        "bf16_mean_difference": round(float(differences["bf16"].mean()), 4),
    }


def stock(arguments: argparse.Namespace, prompts: list[str], guidance: float) -> Callable[[], np.ndarray]:
    """The stock pipeline on the same first noise."""
    pipeline = StableDiffusionPipeline.from_pretrained(arguments.model, safety_checker=None, local_files_only=True)
    pipeline.to(arguments.device).set_progress_bar_config(disable=True)
    shape = (pipeline.unet.config.in_channels,) + (pipeline.unet.config.sample_size,) * 2
    latents = noise(SEED, range(arguments.batch), shape).to(arguments.device)

    def run() -> np.ndarray:
        made = pipeline(
            prompts,
            latents=latents.clone(),
            num_inference_steps=arguments.steps,
            guidance_scale=guidance,
            output_type="np",
        ).images
        pixels = (made * 255).round().astype(np.uint8)
        return pixels.mean(axis=3, keepdims=True).round().astype(np.uint8) if arguments.mode == "grey" else pixels

    return run


if __name__ == "__main__":
    main()
