"""Models with an epsilon on Fashion-MNIST, each picture a person: classifiers trained on samples, tested on real pictures.

    python benchmarks/formal.py --work WORK --short        what fits into a quarter of an hour
    python benchmarks/formal.py --work WORK                all arms, three seeds: a night; it resumes
    python benchmarks/formal.py --speed                    a private step beside the same step without privacy, and Opacus'
    python benchmarks/formal.py --refute                   the paper's claim, on a data set built to refute it
    python benchmarks/formal.py --manifest FOLDER          a manifest for configs/fashion_private.yaml

Arms: dp_sgd (no warm-up), warm (means), moments, distilled, adversary, ensemble, paper (no guarantee), unprotected (no
privacy). `best_sound` is declared beforehand: moments. The classifier's settings are fixed here and were not tuned.
"""

import argparse
import gzip
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from torch import nn

from pd.config import DataSettings, FormalSettings
from pd.diffusion.autoencoder import bundled, encode
from pd.dp.canaries import judge
from pd.dp.noise import NoiseSource
from pd.formal.canaries import losses_of, with_canaries
from pd.formal.clipped import ClippedSum, PersonGradients
from pd.formal.make import Order, make, sample_latents, text_of, unprotected
from pd.formal.people import People
from pd.formal.plan import make_plan
from pd.progress import Progress, silent
from pd.seeds import derive

NAMES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CAPTIONS = [f"a photo of a {name}" for name in NAMES]
SHAPE = DataSettings(size=32)
BEST = "moments"
MODEL = {"unet": "tiny", "workers": 0, "samples_every": 0, "warmup": 20}
ARMS: dict[str, dict[str, Any]] = {
    "unprotected": {},
    "dp_sgd": {"warm_up": "none"},
    "warm": {"warm_up": "means"},
    "moments": {"warm_up": "moments"},
    "distilled": {"warm_up": "moments", "method": "dp_sad", "adversary": False},
    "adversary": {"warm_up": "moments", "method": "dp_sad", "adversary": True},
    "ensemble": {"method": "dp_sad", "teacher": "ensemble"},
    "paper": {"method": "dp_sad", "accounting": "paper"},
}
FULL = {"steps": 600, "batch": 1024, "warm": 2000, "rows": 128, "student": 2000, "samples": 10_000, "teachers": 50, "fit": 3000}
SHORT = {"steps": 25, "batch": 512, "warm": 350, "rows": 96, "student": 150, "samples": 3000, "teachers": 10, "fit": 500}


def pictures(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, 32, 32, 1) uint8, padded with black, and classes."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None], labels


def linear_code() -> tuple[torch.Tensor, torch.Tensor]:
    """pd's public autoencoder is linear on blocks: latents (16,) = (block - mean) @ forward; and the inverse, by probing it."""
    probes = np.full((17, 16, 16, 1), 128, np.uint8)
    for i in range(16):
        probes[i + 1, i // 4, i % 4] = 228
    z = encode(bundled("grey", 32), np.concatenate([probes, probes[:1]]))[:17, :, 0, 0].double()
    forward = (z[1:] - z[0]) / (100 / 127.5)
    return forward, z[0] - (128 / 127.5 - 1) * forward.sum(dim=0)


def to_latents(images: np.ndarray, code: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """(N, 16, 8, 8) float32, as the autoencoder's own (compared in `main`)."""
    x = torch.from_numpy(images[..., 0]).double() / 127.5 - 1
    blocks = x.view(-1, 8, 4, 8, 4).permute(0, 1, 3, 2, 4).reshape(len(x), 8, 8, 16)
    return (blocks @ code[0] + code[1]).permute(0, 3, 1, 2).float().contiguous()


def to_pixels(latents: torch.Tensor, code: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """(N, 1, 32, 32) float32 in [-1, 1], of 8 bits."""
    blocks = (latents.permute(0, 2, 3, 1).double() - code[1]) @ torch.linalg.inv(code[0])
    x = blocks.view(-1, 8, 8, 4, 4).permute(0, 1, 3, 2, 4).reshape(len(blocks), 1, 32, 32)
    return ((x.clamp(-1, 1) + 1) * 127.5).round().div(127.5).sub(1).float()


def accuracy(train: torch.Tensor, labels: torch.Tensor, test: torch.Tensor, truth: np.ndarray, steps: int, seed: int) -> float:
    """Of a small CNN trained on samples, on real pictures."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(32 * 64, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    for _ in range(steps):
        rows = torch.randint(len(train), (64,))
        loss = nn.functional.cross_entropy(net(train[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        return float((torch.cat([net(part) for part in test.split(1000)]).argmax(1).numpy() == truth).mean())


@contextmanager
def bar(name: str) -> Iterator[Progress]:
    """A line when a part is done."""
    begin = time.monotonic()
    yield silent
    print(f"    {name}: {time.monotonic() - begin:.0f} s", flush=True)


def settings_of(arm: str, epsilon: float, size: dict[str, int]) -> FormalSettings:
    """Of the section `formal`."""
    return FormalSettings.model_validate(
        {
            "epsilon": epsilon, "delta": 1e-5, "images_per_person": 1, "steps": size["steps"], "batch": size["batch"],
            "noise_draws": 1, "micro_batch": 256, "student_steps": size["student"], "teachers": size["teachers"],
            "model": {**MODEL, "steps": size["warm"], "batch": size["rows"]}, "reproducible": True, **ARMS[arm],
        }
    )  # fmt: skip


def one(
    arm: str, epsilon: float, seed: int, people: People, size: dict[str, int], work: Path
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of samples, and their classes."""
    settings = settings_of(arm, epsilon, size)
    if arm == "unprotected":
        from pd.diffusion.components import build

        order = Order(settings, SHAPE, make_plan(settings, len(people)), CAPTIONS, work, derive(seed, "formal"))
        parts = unprotected(order, people, build(settings.model, SHAPE, derive(order.seed, "start")), "unprotected")
    else:
        order = Order(settings, SHAPE, make_plan(settings, len(people)), CAPTIONS, work, derive(seed, "formal"))
        parts = make(order, people, NoiseSource.of_seed(derive(seed, arm, str(epsilon))), bar)
    return sample_latents(parts, text_of(parts, CAPTIONS), seed, size["samples"], silent, steps=10)


def ladder(args: argparse.Namespace) -> dict[str, Any]:
    """All arms that are asked for, one after the other, each kept once it is done."""
    size = SHORT if args.short else FULL
    code = linear_code()
    train, labels = pictures(args.data, "train")
    test, truth = pictures(args.data, "t10k")
    few = to_latents(train[:64], code)
    assert float((few - encode(bundled("grey", 32), train[:64])).abs().max()) < 1e-2
    latents = to_latents(train, code)
    people = People(latents, torch.from_numpy(labels), torch.arange(len(labels) + 1))
    shown = to_pixels(to_latents(test, code), code)
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(args.seeds or (1 if args.short else 3)):
        for arm in args.arms:
            for epsilon in args.epsilons if arm != "unprotected" else [0.0]:
                kept = args.work / f"{'short' if args.short else 'full'}-{arm}-{epsilon:g}-{seed}.json"
                if not kept.exists():
                    begin = time.monotonic(), time.process_time()
                    print(f"{arm} at {epsilon:g}, seed {seed}", flush=True)
                    folder = args.work / kept.stem
                    made, classes = one(arm, epsilon or 10.0, seed, people, size, folder)
                    value = accuracy(to_pixels(made, code), classes, shown, truth, size["fit"], seed)
                    took = {"wall_s": time.monotonic() - begin[0], "cpu_s": time.process_time() - begin[1]}
                    kept.write_text(json.dumps({"accuracy": value, **took}), encoding="utf-8")
                    print(f"  {arm} at {epsilon:g}: accuracy {value:.3f}, {took}", flush=True)
                value = json.loads(kept.read_text(encoding="utf-8"))["accuracy"]
                found.setdefault(arm, {}).setdefault(f"{epsilon:g}", []).append(value)
    return report(found)


def report(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Means over seeds with their intervals (Student's t; none for one seed), by arm and epsilon."""
    from scipy.stats import t

    arms: dict[str, Any] = {}
    for arm, by in found.items():
        for epsilon, values in by.items():
            reach = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
            mean = float(np.mean(values))
            entry = {
                "value": mean,
                "low": None if reach is None else mean - reach,
                "high": None if reach is None else mean + reach,
            }
            arms.setdefault(arm, {})[epsilon] = {"accuracy": entry, "seeds": len(values), "epsilon_lower_bound": "not measured"}

    def mean(arm: str, epsilon: str) -> float | None:
        return arms.get(arm, {}).get(epsilon, {}).get("accuracy", {}).get("value")

    rungs = {e: [mean(arm, e) for arm in ("moments", "distilled", "adversary")] for e in ("1", "10")}
    whole = all(value is not None for rung in rungs.values() for value in rung)
    holds = all(a < b < c for a, b, c in rungs.values()) if whole else None
    return {"arms": arms, "order_holds": holds, "best_sound": {"arm": BEST, "1": mean(BEST, "1"), "10": mean(BEST, "10")}}


def speed() -> dict[str, Any]:
    """Interleaved: a private step, the same step without privacy, and Opacus' hooks, of a small convolutional network."""
    from opacus.grad_sample import GradSampleModule

    torch.manual_seed(0)

    def net() -> nn.Module:
        def block(a: int, b: int, stride: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3, stride, 1), nn.GroupNorm(8, b), nn.SiLU()]

        return nn.Sequential(
            *block(16, 64), *block(64, 64), *block(64, 96, 2), *block(96, 96), nn.Flatten(), nn.Linear(96 * 16, 16)
        )

    plain, ours = net(), net()
    theirs = GradSampleModule(net(), loss_reduction="sum")
    rows = torch.randn(128, 16, 8, 8)
    source = NoiseSource.of_seed(0)

    def without() -> None:
        plain.zero_grad()
        plain(rows).square().mean(dim=1).sum().backward()

    def private() -> None:
        total = ClippedSum(ours, 1.0)
        PersonGradients(ours).add(total, lambda: ours(rows).square().mean(dim=1), len(rows))
        total.noised(1.0, source, 0).fill(ours, len(rows))

    def opacus() -> None:
        theirs.zero_grad()
        theirs(rows).square().mean(dim=1).sum().backward()
        samples = [value.grad_sample for value in theirs.parameters()]
        norms = torch.stack([sample.flatten(1).norm(dim=1) for sample in samples]).norm(dim=0)
        factors = (1.0 / (norms + 1e-6)).clamp(max=1.0)
        for value, sample in zip(theirs.parameters(), samples, strict=True):
            value.grad = torch.einsum("n,n...->...", factors, sample) + torch.randn_like(value)
            value.grad_sample = None

    times: dict[str, list[float]] = {"without": [], "private": [], "opacus": []}
    for turn in range(12):
        for name, step in (("without", without), ("private", private), ("opacus", opacus)):
            begin = time.process_time()
            step()
            if turn > 1:
                times[name].append(time.process_time() - begin)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    ratios = [p / w for p, w in zip(times["private"], times["without"], strict=True)]
    return {
        "cpu_s": medians,
        "private_over_without": float(np.median(ratios)),
        "opacus_over_private": float(np.median([o / p for o, p in zip(times["opacus"], times["private"], strict=True)])),
        "weights": sum(value.numel() for value in ours.parameters()),
        "rows": len(rows),
    }


def refute(args: argparse.Namespace) -> dict[str, Any]:
    """A small data set of canaries and few others, dp_sad with the paper's noise for epsilon 1, and what canaries show."""
    rng = np.random.default_rng(0)
    latents = torch.from_numpy(rng.standard_normal((20, 16, 8, 8), dtype=np.float32)) * 0.2
    base = People(latents, torch.zeros(20, dtype=torch.int64), torch.arange(21))
    people, canaries, inserted = with_canaries(base, 200, 1, 3)
    steps = 400
    settings = FormalSettings.model_validate(
        {
            "epsilon": 1, "delta": 1e-3, "steps": steps, "method": "dp_sad", "accounting": "paper", "adversary": args.adversary,
            "accept_no_guarantee": True, "reproducible": True,
            "model": {**MODEL, "steps": 600, "batch": 64, "learning_rate": 2e-3},
        }
    )  # fmt: skip
    order = Order(settings, SHAPE, make_plan(settings, len(people)), CAPTIONS[:1], args.work / "refute", 5)
    parts = make(order, people, NoiseSource.of_seed(1), bar)
    losses = losses_of(parts, canaries, text_of(parts, CAPTIONS[:1]), order)
    found = judge(-losses, inserted, settings.delta)
    return {
        "claimed": 1.0,
        "lower_bound": found.epsilon,
        "right": found.right,
        "guesses": found.guesses,
        "canaries": found.canaries,
    }


def manifest(folder: Path, data: Path) -> None:
    """Pictures and a manifest, each picture a person."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pd.dataset.images import encode_png

    images, labels = pictures(data, "train")
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "image": pa.array([encode_png(image) for image in images], pa.binary()),
        "identity": pa.array([f"person-{i:05d}" for i in range(len(images))]),
        "caption": pa.array([CAPTIONS[label] for label in labels]),
    }
    pq.write_table(pa.table(columns), folder / "manifest.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--work", type=Path, default=Path("formal-work"))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--epsilons", nargs="+", type=float, default=[10.0, 1.0])
    parser.add_argument("--seeds", type=int, help="instead of the form's")
    parser.add_argument("--adversary", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--refute", action="store_true")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--last", action="store_true")
    args = parser.parse_args()
    if args.last:
        harness.print_last("formal")
        return
    if args.manifest:
        manifest(args.manifest, args.data)
        return
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    args.work.mkdir(parents=True, exist_ok=True)
    part = {"speed": speed()} if args.speed else {"refute": refute(args)} if args.refute else ladder(args)
    print(json.dumps(part, indent=2), flush=True)
    held = harness.RESULTS / "formal.json"
    before = json.loads(held.read_text(encoding="utf-8"))["figures"] if held.exists() else {}
    harness.store("formal", before | part | {"short": args.short or before.get("short", False)})


if __name__ == "__main__":
    main()
