"""Is our sampler faster than the stock pipeline, for the same images? Interleaved medians on the same weights.

    python benchmarks/sampling.py --model runs/faces/release/model
    python benchmarks/sampling.py --last     # print the stored figures without running

Both get the same threads, prompts, first noise, solver, steps, guidance and batch. The stock pipeline is given its noise as
`latents` and its images as arrays, so that neither pays for PNG.
"""

import argparse
import time
from pathlib import Path

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
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("sampling")
        return
    torch.set_grad_enabled(False)
    table = Table(
        title=f"{arguments.batch} images, {arguments.steps} steps, {arguments.device}, {torch.get_num_threads()} threads"
    )
    for heading in ("guidance", "pd images/s", "diffusers images/s", "vs_diffusers", "largest difference, grey levels"):
        table.add_column(heading, justify="right")
    found = {str(guidance): compare(arguments, guidance, table) for guidance in arguments.guidance}
    Console(width=110).print(table)
    store(
        "sampling",
        {"vs_diffusers": {guidance: row["vs_diffusers"] for guidance, row in found.items()}, "by_guidance": found}
        | {"batch": arguments.batch, "steps": arguments.steps, "device": arguments.device, "threads": torch.get_num_threads()},
    )


def compare(arguments: argparse.Namespace, guidance: float, table: Table) -> dict[str, float]:
    """Medians of both at one guidance scale; refuses to time samplers that make different images."""
    mode: Mode = arguments.mode
    sampler = Sampler(arguments.model, mode=mode, batch=arguments.batch, device=arguments.device)
    pipeline = StableDiffusionPipeline.from_pretrained(arguments.model, safety_checker=None, local_files_only=True)
    pipeline.to(arguments.device).set_progress_bar_config(disable=True)
    ids = list(range(arguments.batch))
    prompts = [arguments.prompt[i % len(arguments.prompt)] for i in ids]
    latents = noise(SEED, ids, sampler.latent_shape).to(arguments.device)

    def ours() -> np.ndarray:
        return sampler.sample(ids, prompts, SEED, arguments.steps, guidance)

    def stock() -> np.ndarray:
        made = pipeline(
            prompts,
            latents=latents.clone(),
            num_inference_steps=arguments.steps,
            guidance_scale=guidance,
            output_type="np",
        ).images
        pixels = (made * 255).round().astype(np.uint8)
        return pixels.mean(axis=3, keepdims=True).round().astype(np.uint8) if mode == "grey" else pixels

    difference = int(np.abs(ours().astype(int) - stock().astype(int)).max())
    if difference > 2:
        raise SystemExit(f"guidance {guidance}: the samplers differ by {difference} grey levels")
    seconds: dict[str, list[float]] = {"ours": [], "stock": []}
    for _ in range(arguments.repeats):
        for name, run in (("ours", ours), ("stock", stock)):
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    speed = {name: arguments.batch / float(np.median(values)) for name, values in seconds.items()}
    ratio = speed["ours"] / speed["stock"]
    table.add_row(f"{guidance:g}", f"{speed['ours']:.1f}", f"{speed['stock']:.1f}", f"{ratio:.2f}", str(difference))
    return {
        "vs_diffusers": round(ratio, 3),
        "ours_images_per_s": round(speed["ours"], 2),
        "stock_images_per_s": round(speed["stock"], 2),
        "largest_difference": difference,
    }


if __name__ == "__main__":
    main()
