"""What is only to be known on a GPU, in under ten minutes; `--toy` runs the same parts at toy size on a CPU.

    python benchmarks/on_gpu.py            # on a machine with a GPU
    python benchmarks/on_gpu.py --toy      # stores nothing; its figures mean nothing
    python benchmarks/on_gpu.py --last

Prints {"unet": {"images_per_s", "mfu"}, "search": {"vs_fp32", "of_bf16_peak"}, "sampling": {"vs_diffusers"},
"reid": {"images_per_s", "mfu"}}: a UNet of Stable Diffusion's size trained at 256 px in bfloat16 on cached latents; exact
search against a float32 matmul and max; sampling against stock diffusers; re-identification with a ResNet-50 at 224 px in
bfloat16.
Operations are counted as `pd.diffusion.flops` does; the peak is the device's data sheet's (`pd.diffusion.peak`).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from harness import print_last, random_model, store
from torch.utils.flop_counter import FlopCounterMode

from pd.config import DataSettings, ModelSettings, ReidSettings
from pd.diffusion.components import build
from pd.diffusion.data import TrainingData
from pd.diffusion.peak import peak_flops
from pd.diffusion.sampler import Sampler
from pd.engine.training.train import train_model
from pd.reid.gallery import Gallery
from pd.reid.network import build as build_network
from pd.reid.rows import Held
from pd.reid.task import Recogniser, training_settings
from pd.training.loop import fit_module
from pd.training.task import Alone

PROMPTS = ("a photo of a face", "a photo of a face with glasses")


@dataclass(frozen=True)
class Size:
    """Of everything."""

    unet: str
    side: int
    batch: int
    steps: int
    queries: int
    rows: int
    dim: int
    samples: int
    sampler_steps: int
    backbone: str
    reid_side: int
    people: int
    reid_steps: int
    repeats: int


REAL = Size("sd", 256, 64, 60, 65_536, 100_000, 512, 16, 20, "resnet50", 224, 16, 40, 5)
TOY = Size("tiny", 32, 4, 4, 256, 500, 32, 2, 2, "small", 32, 4, 4, 2)


def unet(size: Size, base: Path, folder: Path) -> dict[str, Any]:
    """Images a second and MFU of pd's own training, checkpoints and export left out."""
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (max(64, size.batch), size.side, size.side, 3), dtype=np.uint8)
    settings = {
        "base": str(base),
        "autoencoder": "base",
        "batch": size.batch,
        "steps": size.steps,
        "precision": "bf16",
        "workers": 0,
        "samples_every": 0,
        "checkpoint_every": 10**6,
    }
    seen: list[dict[str, object]] = []
    facts = train_model(
        ModelSettings.model_validate(settings),
        DataSettings(size=size.side, mode="rgb"),
        TrainingData(pixels, [PROMPTS[row % 2] for row in range(len(pixels))]),
        folder / "out",
        folder / "work",
        0,
        lambda done, steps, info: seen.append(dict(info)),
    )
    speeds = [float(str(info["images/s"])) for info in seen if "images/s" in info]
    # The last reports: the first wait for compilation and memory, and whole-run figures hold them.
    steady = float(np.median(speeds[len(speeds) // 2 :])) if speeds else facts["images_per_s"]
    mfu = facts["mfu"] * steady / facts["images_per_s"] if facts["mfu"] else None
    return {"images_per_s": steady, "mfu": mfu, "memory_gb": facts["memory_gb"]}


def search(size: Size, device: torch.device) -> dict[str, float]:
    """Exact search of the nearest row against float32 matmul and max in blocks; the same answers."""
    generator = torch.Generator().manual_seed(0)
    queries, rows = (
        torch.nn.functional.normalize(torch.randn(n, size.dim, generator=generator), dim=1).to(device)
        for n in (size.queries, size.rows)
    )
    gallery = Gallery(rows, device=device)

    def plain() -> torch.Tensor:
        return torch.cat([(part @ rows.T).max(1).indices for part in queries.split(4096)])

    found = {}
    agree = float((torch.from_numpy(gallery.nearest(queries)[1]).to(device) == plain()).float().mean())
    for name, work in (("ours", lambda: gallery.nearest(queries)), ("fp32", plain)):
        found[name] = _median(work, size.repeats, device)
    operations = 2.0 * size.queries * size.rows * size.dim
    return {
        "vs_fp32": found["fp32"] / found["ours"],
        "of_bf16_peak": operations / found["ours"] / peak_flops(device, "bf16"),
        "same_answers": agree,
    }


def sampling(size: Size, base: Path, device: torch.device) -> dict[str, float]:
    """pd's sampler against stock diffusers in the same precision: float16's place is bfloat16's on both sides."""
    parts = build(ModelSettings(base=str(base), autoencoder="base"), DataSettings(size=size.side, mode="rgb"), 0)
    ours = Sampler(parts, mode="rgb", batch=size.samples, device=str(device), precision="bf16")
    pipeline = StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.bfloat16).to(device)
    pipeline.set_progress_bar_config(disable=True)
    prompts = [PROMPTS[row % 2] for row in range(size.samples)]
    ids = list(range(size.samples))

    def stock() -> object:
        options = {"height": size.side, "width": size.side, "num_inference_steps": size.sampler_steps, "output_type": "np"}
        return pipeline(prompts, guidance_scale=2.0, **options).images

    seconds = {"ours": [], "stock": []}
    for _ in range(size.repeats):
        seconds["ours"].append(_seconds(lambda: ours.sample(ids, prompts, 0, size.sampler_steps, 2.0), device))
        seconds["stock"].append(_seconds(stock, device))
    mine, theirs = (float(np.median(found[1:])) for found in seconds.values())  # the first of each compiles
    return {"vs_diffusers": theirs / mine, "images_per_s": size.samples / mine}


def reid(size: Size, device: torch.device) -> dict[str, float | None]:
    """Images a second and MFU of pd's own loop; the network's operations alone are counted, not those of augmentation."""
    settings = ReidSettings.model_validate(
        {"backbone": size.backbone, "steps": size.reid_steps, "precision": "bf16", "identities_per_batch": size.people}
    )
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (4 * size.people, size.reid_side, size.reid_side, 3), dtype=np.uint8)
    names = [f"p{row // 4}" for row in range(len(pixels))]
    task = Recogniser(Held(pixels), names, settings, 0, "random")
    batch = min(size.people, len(set(names))) * settings.images_per_identity
    times: list[tuple[int, float]] = []
    how = training_settings(settings)
    fit_module(task, how, None, lambda done, steps, info: times.append((done, time.perf_counter())), Alone(device))
    (first, begin), (last, end) = times[len(times) // 4], times[-1]
    speed = batch * (last - first) / (end - begin)
    counter = FlopCounterMode(display=False)
    network = build_network(settings, 0).eval()
    with torch.no_grad(), counter:
        network(torch.zeros(1, 3, size.reid_side, size.reid_side))
    return {"images_per_s": speed, "mfu": 3.0 * counter.get_total_flops() * speed / peak_flops(device, "bf16")}


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def _median(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    _seconds(work, device)
    return float(np.median([_seconds(work, device) for _ in range(repeats)]))


def measure(size: Size, device: torch.device, folder: Path) -> dict[str, Any]:
    """All four; each is printed as it is there, so that a run that is cut short leaves what it had."""
    base = random_model(folder / "base", size.unet, size.side, 32)
    found: dict[str, Any] = {}
    parts: dict[str, Callable[[], Any]] = {
        "search": lambda: search(size, device),
        "reid": lambda: reid(size, device),
        "sampling": lambda: sampling(size, base, device),
        "unet": lambda: unet(size, base, folder),
    }
    for name, part in parts.items():
        found[name] = part()
        print(json.dumps({name: found[name]}), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="toy size on the CPU; nothing is stored")
    parser.add_argument("--last", action="store_true", help="print the stored figures")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("on_gpu")
        return
    if not arguments.toy and not torch.cuda.is_available():
        parser.error("there is no GPU here; --toy runs the same parts at toy size")
    with tempfile.TemporaryDirectory(prefix="on-gpu-") as made:
        if arguments.toy:
            measure(TOY, torch.device("cpu"), Path(made))
            return
        figures = measure(REAL, torch.device("cuda"), Path(made))
        store("on_gpu", {**figures, "device": torch.cuda.get_device_name()})


if __name__ == "__main__":
    main()
