"""Re-identification on cached pictures by the trainer on Ray's workers, against a bare torch loop. One thread a worker.

Both draw, augment and train the same: `small`, and a ResNet-18, at 64 px. Speeds are of the steps after the first few, measured
in the loop itself; rounds are interleaved, and ratios are of their medians. Beside the clock's ratio stands that of processor
time, which other work on the machine disturbs less.

Prints {"vs_bare", "scaling_2", "same_weights", "resume"}: the worse network's speed of one worker over the bare loop's, and of
two workers over one; the largest difference between the weights of 1, 2 and 4 ranks after 20 steps, and between a training that
was killed and resumed and one that was not. The ranks are compared in float64: there the same function is seen to be the same.
In float32 (`same_weights_fp32`, beside it) a sum in another order turns the sign of a gradient that is all but zero, and Adam's
first steps are as long for that weight as for any other: two learning rates apart after one step.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import print_last, store
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, multiprocessing, nn

from pd.config import ReidSettings
from pd.config.training import TrainingSettings
from pd.engine.fit import fit
from pd.reid.augment import view
from pd.reid.methods.supcon import supervised_contrastive
from pd.reid.network import EmbeddingNetwork, build
from pd.reid.rows import PixelRows
from pd.reid.task import Contrast
from pd.training.loop import fit_here
from pd.training.task import Alone, Group

SIDE, PEOPLE, EACH, SEED = 64, 40, 5, 3
WARM = 10  # steps before the clock starts: by then what Ray starts beside the workers has settled
STEPS = {"small": 70, "resnet18": 24}


class Timed(Contrast):
    """A recogniser that notes what its steps after the first few took."""

    def __init__(self, name: str, rows: PixelRows, die_at: int | None = None, double: bool = False) -> None:
        super().__init__(rows, [f"p{row // EACH}" for row in range(PEOPLE * EACH)], SEED, 16, 4)
        self.name, self.key, self.die_at, self.double, self.since = name, name, die_at, double, (0.0, 0.0)

    def build(self) -> nn.Module:
        torch.set_num_threads(1)  # also where a worker has the machine to itself
        return Double(network(self.name).double()) if self.double else network(self.name)

    def after_step(self, module: nn.Module, step: int) -> None:
        if step == WARM - 1:
            self.since = time.perf_counter(), time.process_time()
        if step + 1 == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def export(self, module: nn.Module, folder: Path) -> dict[str, Any]:
        save_file({key: value.contiguous() for key, value in module.state_dict().items()}, folder / "model.safetensors")
        wall, cpu = self.since
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


class Double(nn.Module):
    """A network in float64; the views that it is given are made in float32, each for itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.double())


def network(name: str) -> nn.Module:
    if name == "small":
        return build(ReidSettings(), SEED)
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        backbone = resnet18(weights=None)
        backbone.fc = nn.Identity()
        return EmbeddingNetwork(backbone, 512, 128, name=name)


def bare(name: str, rows: PixelRows, steps: int) -> dict[str, float]:
    """The same training without a trainer."""
    task, module = Timed(name, rows), network(name).train()
    weights = list(module.parameters())
    optimiser = torch.optim.AdamW(weights, lr=2e-3, weight_decay=0.05)
    since = 0.0, 0.0
    for step in range(steps):
        if step == WARM:
            since = time.perf_counter(), time.process_time()
        batch = task.batch(step, 0, 1)
        pictures = batch["pictures"].float().div_(127.5).sub_(1.0)
        loss = supervised_contrastive(module(view(dict(batch), pictures).expand(-1, 3, -1, -1)), batch["who"])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        loss.item()
    return {"wall": time.perf_counter() - since[0], "cpu": time.process_time() - since[1]}


def settings(steps: int, **changes: Any) -> TrainingSettings:
    return TrainingSettings(steps=steps, learning_rate=2e-3, weight_decay=0.05, checkpoint_every=10**6).model_copy(
        update=changes
    )


def pixels(folder: Path) -> PixelRows:
    chance = np.random.default_rng(0)
    faces = chance.integers(0, 256, (PEOPLE, 8, 8, 3), dtype=np.uint8).repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
    return PixelRows.write(faces.repeat(EACH, 0), folder / "pixels")


def _alone(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """This file in a process of its own, of one thread."""
    command = [sys.executable, __file__, "--part", *words, "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def speeds(folder: Path, rounds: int) -> dict[str, dict[str, Any]]:
    rows, found = pixels(folder), {}
    for name, steps in STEPS.items():
        seen: dict[str, list[dict[str, float]]] = {"bare": [], "one": [], "two": []}
        for round_ in range(rounds):
            seen["bare"].append(json.loads(_alone(["bare", name], folder).stdout))
            for key, workers in (("one", 1), ("two", 2)):
                out = fit(Timed(name, rows), settings(steps, workers=workers), folder / f"{key}-{round_}")
                seen[key].append(json.loads((out / "facts.json").read_text()))
        wall = {key: statistics.median(each["wall"] for each in held) for key, held in seen.items()}
        cpu = {key: statistics.median(each["cpu"] for each in held) for key, held in seen.items()}
        images = 64 * (steps - WARM)
        found[name] = {
            "images_per_s": {key: images / seconds for key, seconds in wall.items()},
            "vs_bare": wall["bare"] / wall["one"],
            "vs_bare_cpu": cpu["bare"] / cpu["one"],
            "scaling_2": wall["one"] / wall["two"],
            "scaling_2_cpu": cpu["one"] / cpu["two"],
        }
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    return found


def same_weights(folder: Path, double: bool) -> float:
    """The largest difference of 2 and 4 ranks from one, over 20 steps."""
    rows, worst = pixels(folder), 0.0
    for name in STEPS:
        models = {}
        for world in (1, 2, 4):
            out = folder / f"ranks-{world}-{double}"
            store_at = str(folder / f"store-{name}-{world}-{double}")
            multiprocessing.spawn(_rank, (world, name, rows, out, store_at, double), nprocs=world)
            models[world] = load_file(out / name / "result" / "model.safetensors")
        found = max(_apart(models[1], models[world]) for world in (2, 4))
        print(f"{name}: ranks differ by {found:.2g} in {'float64' if double else 'float32'}", flush=True)
        worst = max(worst, found)
    return worst


def _rank(rank: int, world: int, name: str, rows: PixelRows, out: Path, store_at: str, double: bool) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", store=distributed.FileStore(store_at, world), rank=rank, world_size=world)
    fit_here(Timed(name, rows, double=double), settings(20), out, ranks=Group(torch.device("cpu")))
    distributed.destroy_process_group()


def resume(folder: Path) -> float:
    """The largest difference that a kill in the middle makes."""
    rows, worst = pixels(folder), 0.0
    for name in STEPS:
        whole = fit_here(
            Timed(name, rows), settings(20, checkpoint_every=7), folder / "whole", ranks=Alone(torch.device("cpu"))
        )
        killed = _alone(["killed", name], folder)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert _alone(["resumed", name], folder).returncode == 0
        out = folder / "killed" / name / "result"
        worst = max(worst, _apart(load_file(whole / "model.safetensors"), load_file(out / "model.safetensors")))
    return worst


def _apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[key].double() - other[key].double()).abs().max()) for key in one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--last", action="store_true", help="print the stored figures")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("recogniser_training")
        return
    torch.set_num_threads(1)
    if arguments.part:
        what, name = arguments.part
        rows = pixels(arguments.folder)
        if what == "bare":
            print(json.dumps(bare(name, rows, STEPS[name])))
            return
        task = Timed(name, rows, die_at=11 if what == "killed" else None)
        fit_here(task, settings(20, checkpoint_every=7), arguments.folder / "killed", ranks=Alone(torch.device("cpu")))
        return
    with tempfile.TemporaryDirectory(prefix="recogniser-") as made:
        folder, before = Path(made), os.getloadavg()[0]
        exact = {"same_weights": same_weights(folder, True), "same_weights_fp32": same_weights(folder, False)}
        exact["resume"] = resume(folder)
        found = speeds(folder, arguments.rounds)
    worse = {key: min(each[key] for each in found.values()) for key in ("vs_bare", "vs_bare_cpu", "scaling_2")}
    store("recogniser_training", {**worse, **exact, "networks": found, "load_before": before})


if __name__ == "__main__":
    main()
