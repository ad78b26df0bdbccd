"""Few labels: what Semi-ViT gains over supervised networks at equal labels.

    python benchmarks/few_labels.py --short            # one seed, 5 % and 10 % (cars: 10 % and 20 %), fewer arms
    python benchmarks/few_labels.py                    # the long form: three seeds, all shares and arms, hours; resumable
    python benchmarks/few_labels.py --last             # print the stored figures without running

Fashion-MNIST (Debian's package dataset-fashion-mnist), 6,000 of its training pictures, of which a share is labelled, and test
pictures; and the 20 models of Stanford cars with the most pictures (`--cars`), a fifth of them for testing. Values are test
accuracies, means over seeds with 95 % intervals by Student's t (of one seed there is none). All arms of a share see the same
labels, the same views and as many steps.

Arms: `cnn`, `vit` (supervised); `semi_vit`; `vit_2n` (supervised, twice the labels); ablations `no_ema` (the teacher is the
student) and `plain_mixup`; `mae_vit`, `mae_semi_vit` (masked pre-training on the unlabelled pictures), `transfer_vit`,
`transfer_semi_vit` (pre-trained on the other models of cars); `wrong_vit`, `wrong_semi_vit` (a fifth of the labels wrong).
`xrays`: findings of chest X-rays (`--xrays`) known for a tenth of the members (half of the patients); macro AUC on the other
patients of linear classifiers that learn from the members' findings as they are known (`tenth`), as filled in by Semi-ViT
(`filled`), and from all of them (`all`), with intervals over patients.
`step_ratio`: speed of a training step of the shared trainer, one worker, over that of a plain PyTorch loop.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from crowd import FASHION, idx, interval, pixels_of
from harness import print_last, store
from rich.console import Console
from rich.table import Table
from torch import nn

from pd.audit.utility import utility
from pd.classify.fine_tune import FineTuneTask, load_vit
from pd.classify.inputs import Held, shape
from pd.classify.mae import MaeTask
from pd.classify.networks import build
from pd.classify.semi_vit import SemiVitTask
from pd.classify.task import load_classifier, predict, save_classifier
from pd.config import SemiVitSettings, VitSettings
from pd.config.labels import LabelsSettings
from pd.config.training import TrainingSettings
from pd.labels.semi_vit import Known, learn
from pd.reid.efficientnet import top_features
from pd.training.loop import fit_here
from pd.training.task import Alone, optimiser

Pixels = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]

POOL, TEST = 6000, 4000  # of Fashion-MNIST
MODELS = 20  # of cars
WRONG = 0.2
SUPERVISED = ("cnn", "vit", "vit_2n", "mae_vit", "transfer_vit", "wrong_vit")
SHORT = {
    "fashion": {"5": ("cnn", "vit", "semi_vit", "vit_2n"), "10": ("cnn", "vit", "semi_vit", "vit_2n", "no_ema", "plain_mixup")},
    "fine_grained": {"10": ("cnn", "vit", "semi_vit", "vit_2n"), "20": ("cnn", "vit", "semi_vit", "mae_semi_vit")},
}
BASE = ("cnn", "vit", "semi_vit", "vit_2n", "no_ema", "plain_mixup", "mae_vit", "mae_semi_vit", "wrong_vit", "wrong_semi_vit")
LONG = {
    "fashion": dict.fromkeys(("1", "5", "10"), BASE),
    "fine_grained": dict.fromkeys(("5", "10", "20"), (*BASE, "transfer_vit", "transfer_semi_vit")),
}


@dataclass(frozen=True)
class Cell:
    """One training and its test: a set, a share of labels in percent, an arm, a seed."""

    of: str
    share: str
    arm: str
    seed: int
    steps: int
    cars: str
    work: str

    @property
    def file(self) -> Path:
        return Path(self.work) / "cells" / f"{self.of}-{self.share}-{self.arm}-{self.seed}-{self.steps}.json"


class CnnTask(FineTuneTask):
    """The supervised task with a ConvNet instead of a transformer."""

    kind = "cnn"
    width = 64

    def build(self) -> nn.Module:
        return build(shape(self.inputs), self.classes, self.seed, self.width)

    def optimiser(self, module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
        return optimiser(list(module.parameters()), settings)

    def export(self, module: nn.Module, folder: Path) -> dict[str, Any]:
        save_classifier(module, shape(self.inputs), self.classes, self.width, folder)
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--cars", default="../shared/data/cars.parquet")
    parser.add_argument("--xrays", default="", help="a Parquet file as `nih.parquet`; empty: left out")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, of one thread each")
    parser.add_argument("--work", default="work/few_labels", help="trainings and cells that are done; the same folder resumes")
    parser.add_argument("--until", type=float, default=float("inf"), help="minutes after which no other training begins")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("few_labels")
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    begin, plan = time.monotonic(), SHORT if arguments.short else LONG
    seeds = arguments.seeds or ([0] if arguments.short else [0, 1, 2])
    cells = [
        Cell(of, share, arm, seed, arguments.steps, arguments.cars, arguments.work)
        for seed in seeds
        for of, shares in plan.items()
        for share, arms in shares.items()
        for arm in arms
    ]
    cells.sort(key=lambda cell: (cell.seed, not cell.file.exists(), cell.arm in ("no_ema", "plain_mixup"), "mae" in cell.arm))
    Path(arguments.work, "cells").mkdir(parents=True, exist_ok=True)
    found: dict[Cell, float] = {}
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        until = time.time() + 60 * arguments.until
        for cell, result in [(cell, pool.apply_async(measure, (cell, until))) for cell in cells]:
            value = result.get()
            if value is not None:
                found[cell] = value
                print(f"{cell.of} {cell.share} % {cell.arm} {cell.seed}: {value:.4f}", file=sys.stderr, flush=True)
    figures: dict[str, Any] = {of: table(of, shares, found, seeds) for of, shares in plan.items()}
    figures["order_holds"] = order_holds(figures)
    figures |= {"seeds": seeds, "steps": arguments.steps, "minutes": round((time.monotonic() - begin) / 60, 1)}
    figures["not_run"] = [f"{cell.of} {cell.share} {cell.arm} {cell.seed}" for cell in cells if cell not in found]
    if arguments.xrays:
        figures["xrays"] = xrays(arguments.xrays, seeds[0], arguments.steps, Path(arguments.work) / "xrays")
    figures["step_ratio"] = step_ratio()
    store("few_labels", figures)


def table(
    of: str, shares: dict[str, tuple[str, ...]], found: dict[Cell, float], seeds: list[int]
) -> dict[str, dict[str, dict[str, float]]]:
    """share -> arm -> value, low, high."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for share, arms in shares.items():
        figures[share] = {}
        shown = Table("arm", "test accuracy", title=f"{of}, {share} % labelled")
        for arm in arms:
            values = [value for cell, value in found.items() if (cell.of, cell.share, cell.arm) == (of, share, arm)]
            if values:
                figures[share][arm] = one = interval(values)
                shown.add_row(arm, f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})")
        Console(file=sys.stderr).print(shown)
    return figures


def order_holds(figures: dict[str, Any]) -> dict[str, bool | None]:
    """Whether CNN and ViT lie below Semi-ViT at equal labels, and Semi-ViT at least at ViT with twice the labels."""
    below: list[bool] = []
    twice: list[bool] = []
    for of in ("fashion", "fine_grained"):
        for share in ("5", "10"):
            arms = {arm: one["value"] for arm, one in figures[of].get(share, {}).items()}
            if {"cnn", "vit", "semi_vit"} <= arms.keys():
                below.append(max(arms["cnn"], arms["vit"]) < arms["semi_vit"])
            if {"vit_2n", "semi_vit"} <= arms.keys():
                twice.append(arms["vit_2n"] <= arms["semi_vit"])
    return {"equal_labels": all(below) if below else None, "half_the_labels": all(twice) if twice else None}


def measure(cell: Cell, until: float) -> float | None:
    """The test accuracy of a cell; None where it may not begin any more."""
    if cell.file.exists():
        return float(json.loads(cell.file.read_text())["accuracy"])
    if time.time() > until:
        return None
    torch.set_num_threads(1)
    begin = time.monotonic()
    pixels, truth, test, test_truth, other = fashion(cell.seed) if cell.of == "fashion" else cars(cell.cars, cell.seed)
    classes = int(truth.max()) + 1
    labels = few(truth, float(cell.share) / 100 * (2 if cell.arm == "vit_2n" else 1), cell.seed)
    if cell.arm.startswith("wrong"):
        labels = wrong(labels, classes, cell.seed)
    settings, training = settings_of(cell)
    inputs, work = Held(pixels), Path(cell.work) / "trainings"
    start = None
    if "mae" in cell.arm:
        start = fit_here(MaeTask(inputs, settings, seed=cell.seed), training, work / "mae")
    elif "transfer" in cell.arm:
        assert other is not None
        many = FineTuneTask(Held(other[0]), other[1], int(other[1].max()) + 1, settings, seed=cell.seed)
        start = fit_here(many, training, work / "transfer")
    if cell.arm in SUPERVISED:
        # Its weights are averaged as the teacher's are.
        training = training.model_copy(update={"ema": 1 - 10 / cell.steps})
        kind = CnnTask if cell.arm == "cnn" else FineTuneTask
        task: FineTuneTask = kind(inputs, labels, classes, settings, seed=cell.seed, start=start)
    else:
        task = SemiVitTask(inputs, labels, classes, settings, steps=cell.steps, seed=cell.seed, start=start)
    out = fit_here(task, training, work)
    module = load_classifier(out) if cell.arm == "cnn" else load_vit(out)
    accuracy = float((predict(module, Held(test)).argmax(1) == test_truth).mean())
    told = {"accuracy": accuracy, "seconds": time.monotonic() - begin, "labelled": int((labels >= 0).sum())}
    cell.file.write_text(json.dumps(told) + "\n", encoding="utf-8")
    return accuracy


def settings_of(cell: Cell) -> tuple[SemiVitSettings, TrainingSettings]:
    network = VitSettings(patch=7 if cell.of == "fashion" else 8, width=64, depth=4, heads=2)
    ablated: dict[str, Any] = {"no_ema": {"teacher_decay": 0.0}, "plain_mixup": {"mixup": "plain"}}.get(cell.arm, {})
    settings = SemiVitSettings(network=network, batch=16).model_copy(update=ablated)
    return settings, TrainingSettings(steps=cell.steps, learning_rate=2e-3, weight_decay=0.05, checkpoint_every=100)


@lru_cache
def fashion(seed: int) -> tuple[Pixels, Index, Pixels, Index, None]:
    pixels, labels = idx(FASHION / "train-images-idx3-ubyte.gz", 16), idx(FASHION / "train-labels-idx1-ubyte.gz", 8)
    test, test_labels = idx(FASHION / "t10k-images-idx3-ubyte.gz", 16), idx(FASHION / "t10k-labels-idx1-ubyte.gz", 8)
    rows = np.random.default_rng([seed, 21]).permutation(len(labels))[:POOL]
    return (
        pixels.reshape(-1, 28, 28, 1)[rows],
        labels[rows].astype(np.int64),
        test.reshape(-1, 28, 28, 1)[:TEST],
        test_labels[:TEST].astype(np.int64),
        None,
    )


@lru_cache
def cars(path: str, seed: int) -> tuple[Pixels, Index, Pixels, Index, tuple[Pixels, Index]]:
    """Pictures and models of the 20 most frequent ones, test pictures, and all other models' pictures."""
    read = pq.read_table(path)
    _, number, counts = np.unique(read["class_name"].to_numpy(), return_inverse=True, return_counts=True)
    most = np.sort(np.argsort(-counts, kind="stable")[:MODELS])
    pixels = pixels_of(read["image"])
    rows = np.flatnonzero(np.isin(number, most))
    order = np.random.default_rng([seed, 22]).permutation(rows)
    models = np.searchsorted(most, number[order]).astype(np.int64)
    few_rows = len(order) // 5
    others = np.flatnonzero(~np.isin(number, most))
    _, of_others = np.unique(number[others], return_inverse=True)
    rest = pixels[others], of_others.astype(np.int64)
    return pixels[order[few_rows:]], models[few_rows:], pixels[order[:few_rows]], models[:few_rows], rest


def few(truth: Index, share: float, seed: int) -> Index:
    """The labels that are known: a share of each class, one at least; -1 elsewhere. More labels hold the fewer."""
    chance = np.random.default_rng([seed, 23])
    labels = np.full(len(truth), -1)
    for one in range(int(truth.max()) + 1):
        rows = chance.permutation(np.flatnonzero(truth == one))
        labels[rows[: max(1, round(share * len(rows)))]] = one
    return labels


def wrong(labels: Index, classes: int, seed: int) -> Index:
    """With a fifth of the known labels wrong."""
    chance = np.random.default_rng([seed, 24])
    known = np.flatnonzero(labels >= 0)
    chosen = chance.permutation(known)[: round(WRONG * len(known))]
    found = labels.copy()
    found[chosen] = (labels[chosen] + chance.integers(1, classes, len(chosen))) % classes
    return found


def xrays(path: str, seed: int, steps: int, work: Path) -> dict[str, Any]:
    """Utility of findings that are known for a tenth of the patients, filled in, and all."""
    read = pq.read_table(path)
    pixels = pixels_of(read["image"])[:, :, :, :1]
    patients = read["identity"].to_numpy()
    names = np.random.default_rng([seed, 25]).permutation(np.unique(patients))
    member = np.isin(patients, names[: len(names) // 2])
    known = np.isin(patients, names[: len(names) // 20])
    findings = {
        name: read[name].to_numpy().astype(np.float64)
        for name, kind in zip(read.schema.names, read.schema.types, strict=True)
        if pa.types.is_integer(kind) and name != "patient_age"
    }
    enough = {name: values for name, values in findings.items() if min((values[known] == one).sum() for one in (0, 1)) >= 4}
    network = VitSettings(patch=8, width=64, depth=4, heads=2)
    settings = LabelsSettings(
        columns=tuple(enough),
        method="semi_vit",
        semi_vit=SemiVitSettings(network=network, batch=16, flip=False, per_class=True),
        training=TrainingSettings(steps=steps, learning_rate=2e-3, weight_decay=0.05),
    )
    tenth = {name: np.where(known, values, np.nan)[member] for name, values in enough.items()}
    filled, figures = {}, {}
    for name, values in tenth.items():
        column = Known.of(name, values.tolist())
        classifier = learn(Held(pixels[member]), column, settings, work, seed=seed)
        told = classifier.told(Held(pixels[member]))
        guess = np.where(classifier.given(told), told.argmax(1), np.nan)
        filled[name] = np.where(np.isfinite(values), values, guess)
        right = (guess == enough[name][member])[np.isfinite(guess) & np.isnan(values)]
        figures[name] = {"filled": len(right), "precision": float(right.mean()) if len(right) else None}
    features = top_features(pixels)
    test = {name: values[~member] for name, values in enough.items()}
    whole = {name: values[member] for name, values in enough.items()}
    found: dict[str, Any] = {"findings": figures}
    for arm, labels in (("tenth", tenth), ("filled", filled), ("all", whole)):
        one = utility(
            features[member], labels, features[~member], test, patients[~member].tolist(), steps=200, bootstrap=1000, seed=seed
        )
        found[arm] = asdict(one.auc) if one.auc else None
    return found


def step_ratio(steps: int = 10, rounds: int = 3) -> float:
    """Speed of a step of the shared trainer over that of a plain loop of the same arithmetic; the median of rounds."""
    import tempfile

    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (400, 28, 28, 1), dtype=np.uint8)
    labels = np.where(np.arange(400) < 40, np.arange(400) % 10, -1)
    settings = SemiVitSettings(network=VitSettings(width=64, depth=4, heads=2), batch=16, supervised=0.0)
    training = TrainingSettings(steps=steps, checkpoint_every=10**6)
    ratios = []
    for _ in range(rounds):
        task = SemiVitTask(Held(pixels), labels, 10, settings, steps=steps, seed=0)
        begin = time.monotonic()
        module = task.build()
        made = task.optimiser(module, training)
        for step in range(steps):
            batch = task.batch(step, 0, 1)
            made.zero_grad(set_to_none=True)
            task.loss(module, batch, step, Alone(torch.device("cpu")))["loss"].backward()
            nn.utils.clip_grad_norm_([value for value in module.parameters() if value.requires_grad], 1.0)
            made.step()
            task.after_step(module, step)
        plain = time.monotonic() - begin
        with tempfile.TemporaryDirectory() as work:
            begin = time.monotonic()
            fit_here(task, training, Path(work))
            ratios.append(plain / (time.monotonic() - begin))
    return float(np.median(ratios))


if __name__ == "__main__":
    main()
