"""What does training cost against a plain diffusers loop, against a bare torch loop, and what does a second worker bring?

    python benchmarks/training.py
    python benchmarks/training.py --precision fp32 --unet medium
    python benchmarks/training.py --last     # print the stored figures without running

All train the same UNet from scratch on the same faces with the same batch, precision, AdamW, clipping and average, in a process
of their own, one after the other, several times; medians of images a second, the first steps and the last left out.

* `diffusers`: as diffusers' text-to-image example does it. Pictures are decoded and scaled by a DataLoader, autoencoder and
  text encoder run in the loop, both frozen.
* `bare`: a torch loop on latents and text embeddings that lie in memory, with pd's network and objective, and the allocator
  that pd's workers have: what is left between the two is Ray's and DeepSpeed's.
* `pd`: `pd.engine.training`: Ray Train, DeepSpeed, cached inputs. With one worker on all threads, one on a single thread, and
  two on a thread each, as `configs/faces.yaml` has it.

`vs_diffusers` compares the example's layout, two workers, with the diffusers loop on all threads; `ray_overhead` one
worker with the bare loop, both on all threads; `scaling_2` two workers with one, on a thread each.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as pd sets it; see RESULTS, "waiting threads"

import numpy as np
import torch
from harness import print_last, store
from PIL import Image
from rich.console import Console
from rich.table import Table

from pd.config import ModelSettings, parse_settings
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.diffusion import autoencoder, components
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import Components
from pd.diffusion.data import TrainingData
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.ema import Ema
from pd.diffusion.objective import draw
from pd.engine.cpu.allocator import keeping_memory
from pd.training.precision import resolve

SEED = 7
UNET = "small"  # the example's
WARM = 30  # steps left out at the start: Ray starts processes of its own beside the first ones
CORES = len(os.sched_getaffinity(0))
ARMS = {
    "diffusers": {"threads": CORES},
    "bare": {"threads": CORES},
    "pd": {"threads": CORES, "workers": 1},
    "pd_1_thread": {"threads": 1, "workers": 1},
    "pd_2_workers": {"threads": 1, "workers": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--unet", choices=("tiny", "small", "medium"), default=UNET)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: the example's")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=list(ARMS))
    parser.add_argument("--arm", choices=tuple(ARMS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("training")
        return
    arguments.precision = resolve(arguments.precision, torch.device("cpu"))
    if arguments.arm:
        print(json.dumps(run(arguments.arm, arguments)))
        return
    speeds: dict[str, list[float]] = {name: [] for name in arguments.arms}
    mfu: list[float] = []
    for _ in range(arguments.repeats):
        for name in arguments.arms:
            found = alone(name)
            speeds[name].append(found["images_per_s"])
            if name == "pd":
                mfu.append(found["mfu"])
    report(arguments, mfu, speeds)


def alone(arm: str) -> dict[str, float]:
    """Run one arm in a process of its own."""
    environment = os.environ | (keeping_memory() if arm == "bare" else {})
    command = [sys.executable, *sys.argv, "--arm", arm]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{arm} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report(arguments: argparse.Namespace, mfu: list[float], every: dict[str, list[float]]) -> None:
    speed = {name: float(np.median(values)) for name, values in every.items()}
    table = Table(title=f"{arguments.unet} UNet, {arguments.size} px, batch {arguments.batch}, {arguments.precision}")
    for heading in ("", "images/s", "runs"):
        table.add_column(heading, justify="right")
    for name, value in speed.items():
        table.add_row(name, f"{value:.1f}", ", ".join(f"{one:.1f}" for one in every[name]))
    Console().print(table)

    def ratio(one: str, other: str) -> float | None:
        """The median of the rounds' ratios: the machine's speed changes from round to round more than within one."""
        if one not in every or other not in every:
            return None
        return round(float(np.median(np.divide(every[one], every[other]))), 3)

    figures = {
        "vs_diffusers": ratio("pd_2_workers", "diffusers"),
        "ray_overhead": ratio("pd", "bare"),
        "scaling_2": ratio("pd_2_workers", "pd_1_thread"),
        "mfu": round(float(np.median(mfu)), 3) if mfu else None,
        "images_per_s": speed,
        "runs": every,
    }
    shape = {name: getattr(arguments, name) for name in ("unet", "precision", "size", "batch", "steps", "repeats")}
    unusual = [arguments.precision] if arguments.precision != resolve("auto", torch.device("cpu")) else []
    unusual += [arguments.unet] if arguments.unet != UNET else []
    store("_".join(["training", *unusual]), figures | shape)


def run(arm: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Images a second of one arm."""
    chosen = ModelSettings.model_validate(
        {"unet": arguments.unet, "precision": arguments.precision, "batch": arguments.batch, "steps": arguments.steps}
        | {"train_text_encoder": "frozen", "checkpoint_every": 10**9, "samples_every": 0}
        | {"workers": ARMS[arm].get("workers", 0), "cpus_per_worker": 0.5 if arm == "pd_1_thread" else None}
    )
    with tempfile.TemporaryDirectory() as work:
        images, shape = faces(arguments.size, Path(work))
        if arm.startswith("pd"):
            return through_pd(chosen, images, shape, Path(work))
        torch.set_num_threads(ARMS[arm]["threads"])
        seconds = (like_diffusers if arm == "diffusers" else bare)(chosen, images, shape)
        return {"images_per_s": chosen.batch / float(np.mean(seconds[WARM:]))}


def faces(size: int, work: Path) -> tuple[TrainingData, Any]:
    """All photos of the embedded example, and what the settings say of data."""
    settings = parse_settings({"data": {"size": size}})
    (work / "dataset").mkdir()
    ingest(settings.data, SEED, work / "dataset")
    real = PrivateDataset.read(work / "dataset")
    return TrainingData(real.images, real.captions), settings.data


def through_pd(chosen: ModelSettings, images: TrainingData, shape: Any, work: Path) -> dict[str, float]:
    from pd.engine.training.train import train_model

    train_model(chosen, shape, images, work / "out", work / "work", SEED)
    (path,) = (work / "work").glob("*/progress.jsonl")
    told = [record for record in map(json.loads, path.read_text().splitlines()) if "images_per_s" in record]
    seconds = taken = 0.0
    for before, record in pairwise(told[:-1]):  # the last one has the writing of the checkpoint in it
        if before["step"] >= WARM:
            steps = record["step"] - before["step"]
            seconds, taken = seconds + steps * chosen.batch / record["images_per_s"], taken + steps
    if not taken:
        sys.exit(f"no two reports, a second apart, lie between step {WARM} and the last: set --steps above {chosen.steps}")
    return {"images_per_s": chosen.batch * taken / seconds, "mfu": float(np.median([record["mfu"] for record in told[1:]]))}


def bare(chosen: ModelSettings, images: TrainingData, shape: Any) -> list[float]:
    """Seconds of each step of a torch loop on cached inputs."""
    parts = components.build(chosen, shape, SEED)
    latents = autoencoder.encode(parts.vae, images.images)
    table = CaptionTable(parts.tokenizer, images.captions)
    text = embed(parts.text_encoder, table.tokens)
    model = Denoiser(parts, chosen)
    optimiser, average = adamw(model, chosen), Ema(model.parameters(), chosen.ema)
    seconds = []
    for step in range(chosen.steps):
        begin = time.perf_counter()
        batch = draw(
            SEED,
            step,
            batch=chosen.batch,
            images=len(latents),
            latent_shape=parts.latent_shape,
            caption_dropout=chosen.caption_dropout,
        )
        rows = table.rows[batch.indices].masked_fill(batch.drop, 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=chosen.precision == "bf16"):
            model(latents[batch.indices], batch.noise, batch.timesteps, text, rows).backward()
        update(model, optimiser, average, step, chosen)
        seconds.append(time.perf_counter() - begin)
    return seconds


def like_diffusers(chosen: ModelSettings, images: TrainingData, shape: Any) -> list[float]:
    """Seconds of each step of the loop that diffusers' text-to-image example has, written anew."""
    from diffusers import DDPMScheduler
    from torchvision import transforms

    parts: Components = components.build(chosen, shape, SEED)
    scheduler = DDPMScheduler.from_config(parts.scheduler.config)
    model = parts.unet.train().requires_grad_(True)
    parts.text_encoder.eval().requires_grad_(False)
    optimiser, average = adamw(model, chosen), Ema(model.parameters(), chosen.ema)
    prepare = transforms.Compose(
        [
            transforms.Resize(shape.size),
            transforms.CenterCrop(shape.size),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
    stored = [png(image) for image in images.images]

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(stored)

        def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
            pixels = prepare(Image.open(io.BytesIO(stored[row])).convert("RGB"))
            words = parts.tokenizer(images.captions[row], max_length=77, padding="max_length", truncation=True)
            return {"pixels": pixels, "tokens": torch.tensor(words.input_ids)}

    loader = torch.utils.data.DataLoader(Rows(), batch_size=chosen.batch, shuffle=True, drop_last=True)
    seconds: list[float] = []
    begin = time.perf_counter()
    while True:
        for batch in loader:
            if len(seconds) == chosen.steps:
                return seconds
            with torch.autocast("cpu", torch.bfloat16, enabled=chosen.precision == "bf16"):
                with torch.no_grad():
                    latents = parts.vae.encode(batch["pixels"]).latent_dist.sample() * parts.vae.config.scaling_factor
                    embeddings = parts.text_encoder(batch["tokens"])[0]
                noise = torch.randn_like(latents)
                times = torch.randint(0, scheduler.config.num_train_timesteps, (len(latents),))
                target = scheduler.get_velocity(latents, noise, times)
                predicted = model(scheduler.add_noise(latents, noise, times), times, embeddings).sample
                (predicted.float() - target.float()).square().mean().backward()
            update(model, optimiser, average, len(seconds), chosen)
            now = time.perf_counter()
            seconds.append(now - begin)
            begin = now


def adamw(model: torch.nn.Module, chosen: ModelSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True)


def update(model: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Ema, step: int, chosen: ModelSettings) -> None:
    torch.nn.utils.clip_grad_norm_(model.parameters(), chosen.clip_norm)
    optimiser.step()
    optimiser.zero_grad()
    average.update(model.parameters(), step)


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(out, "PNG")
    return out.getvalue()


if __name__ == "__main__":
    main()
