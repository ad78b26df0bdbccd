"""Do a few condensed pictures train better than as many random ones: random < DM < M3D, and DM < DANCE?

    python benchmarks/condense.py          # the short form: Fashion-MNIST, 10 a class, few iterations of small networks
    python benchmarks/condense.py --long   # 1 and 10 a class, also CIFAR-10 and 64-pixel cars, wide networks; a night and more
    python benchmarks/condense.py --last   # print the stored figures without running

Fashion-MNIST is Debian's dataset-fashion-mnist; `--data` names a folder with `cifar10/` and `cars.parquet`. Accuracy is
that of five networks of the method's own architecture (and of five small residual ones) that learn from the condensed
pictures alone. DM stores whole pictures, as published; M3D and DANCE store four parts in each. `dm_parts` is DM with
four parts, `dance_middle` and `dance_calibration` are DANCE with one half of it. Seconds are of the processor, an
iteration over all classes. `idc` is gradient matching with four parts in each picture (`gradient_matching.py`). What is
finished is not done again after a kill.
"""

import argparse
import json
import resource
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from crowd import FASHION, idx, pixels_of
from gradient_matching import RATE, GradientTask
from harness import print_last, store
from rich.console import Console
from rich.table import Table

from pd.condense.dance import DanceTask
from pd.condense.evaluate import at_random, evaluate
from pd.condense.make import Classes, expert_training, experts_of, pictures_in, tasks_of, training_of
from pd.config.condense import CondenseSettings
from pd.training.loop import fit_here

MAIN = ("random", "idc", "dm", "m3d", "dance")
HALVES = ("dm_parts", "dance_middle", "dance_calibration")


@dataclass(frozen=True)
class Size:
    """How much work a form of the benchmark is."""

    iterations: int
    width: int
    batch: int
    experts: int
    expert_steps: int
    evaluation_steps: int
    runs: int
    test: int
    arms: tuple[str, ...]
    residual: bool


SHORT = Size(60, 32, 64, 2, 100, 100, 5, 2000, MAIN, False)
LONG = Size(1000, 128, 128, 5, 2000, 300, 5, 10000, (*MAIN, *HALVES), True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--long", action="store_true", help="all sets, wide networks, many iterations")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of cifar10/ and cars.parquet")
    parser.add_argument("--fashion", type=Path, default=FASHION, help="folder of Fashion-MNIST's IDX files")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "pd-condense", help="for going on")
    parser.add_argument("--iterations", type=int, help="instead of the form's")
    given = parser.parse_args()
    if given.last:
        print_last("condense")
        return
    torch.set_num_threads(1)
    size = LONG if given.long else SHORT
    size = replace(size, iterations=given.iterations) if given.iterations else size
    sets = {"fashion": lambda: fashion(given.fashion)}
    if given.long:
        sets |= {"cifar": lambda: cifar(given.data / "cifar10"), "cars": lambda: cars(given.data / "cars.parquet")}
    figures: dict[str, Any] = {"seconds": {}}
    for name, make in sets.items():
        data, test = make()
        test = (test[0][: size.test], test[1][: size.test])
        for count in (1, 10) if given.long else (10,):
            found = figures.setdefault(name, {})[str(count)] = {}
            for arm in size.arms:
                found[arm] = measure(arm, data, test, count, size, given.work)
                if "seconds" in found[arm] and (name, count) == ("fashion", 10):
                    figures["seconds"][arm] = found[arm]["seconds"]
                print(json.dumps({name: {str(count): {arm: found[arm]}}}), flush=True)
            show(f"{name}, {count} a class", found)
    judged = [figures[name]["10"] for name in ("fashion", "cifar") if name in figures]
    figures["order_holds"] = all(apart(found, low, high) for found in judged for low, high in ORDER)
    figures["order_of_means_holds"] = all(found[low]["value"] < found[high]["value"] for found in judged for low, high in ORDER)
    figures["seconds_over_dm"] = {arm: value / figures["seconds"]["dm"] for arm, value in figures["seconds"].items()}
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures["form"] = {
        "long": given.long,
        **{name: getattr(size, name) for name in size.__dataclass_fields__ if name != "arms"},
    }
    store("condense", figures)


ORDER = (("random", "dm"), ("dm", "m3d"), ("dm", "dance"))


def measure(arm: str, data: Classes, test: Any, count: int, size: Size, work: Path) -> dict[str, Any]:
    """Accuracies, their interval, seconds an iteration and bytes of one way."""
    kept = work / f"{arm}-{len(data.labels)}-{len(data.names)}-{count}-{size.iterations}-{size.width}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    found = {}
    factor = 1
    if arm == "random":
        rows = at_random(data.labels, count, 0)
        pictures, labels = data.images[rows], data.labels[rows]
    else:
        factor = 1 if arm == "dm" or data.images.shape[1] % 2 else 2
        pictures, labels = condense(arm, data, count, factor, size, work, found)
    for architecture in ("convnet", "resnet") if size.residual else ("convnet",):
        worth = evaluate(
            pictures,
            labels,
            factor,
            *test,
            data.standard(),
            work,
            runs=size.runs,
            steps=size.evaluation_steps,
            width=size.width,
            architecture=architecture,
        )
        low, high = worth.interval()
        cell = {"value": worth.mean, "low": low, "high": high}
        found |= cell if architecture == "convnet" else {"resnet": cell}
    found["pixels"] = int(pictures.size)
    work.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def condense(arm: str, data: Classes, count: int, factor: int, size: Size, work: Path, found: dict[str, Any]) -> Any:
    """The pictures of one way, and in `found` its distance over the iterations and seconds an iteration."""
    method = "dance" if arm == "idc" else arm.partition("_")[0]  # gradient matching looks through the same networks
    settings = CondenseSettings(
        labels=("class",),
        method=method,
        per_class=count,
        factor=factor,
        batch=size.batch,
        width=size.width,
        experts=size.experts,
        expert_steps=size.expert_steps,
        calibration=0.0 if arm == "dance_middle" else 1.0,
        middle=arm != "dance_calibration",
        sheets_every=0,
    )
    settings = settings.model_copy(
        update={"training": settings.training.model_copy(update={"steps": size.iterations, "checkpoint_every": 20})}
    )
    begin = time.process_time()
    experts = experts_of(data, settings, 0)
    folders = [fit_here(expert, expert_training(settings), work) for expert in experts]
    if experts:
        found["expert_seconds"] = time.process_time() - begin
    if arm == "idc":
        settings = settings.model_copy(update={"learning_rate": RATE * count / 10})
    tasks = tasks_of(data, settings, 0, experts, folders, GradientTask if arm == "idc" else DanceTask)
    curves: list[list[float]] = []
    begin, done = time.process_time(), []
    for task in tasks:
        curve: list[float] = []
        done.append(fit_here(task, training_of(settings), work, lambda at, of, info, into=curve: into.append(info["distance"])))
        curves += [curve] if len(curve) == size.iterations else []
    if curves:
        mean = np.mean(curves, axis=0)
        tenth = max(1, size.iterations // 6)
        found["distance"] = [float(part.mean()) for part in np.split(mean[: tenth * 6], 6)]
    if len(curves) == len(tasks):  # nothing was taken over from a killed run
        found["seconds"] = (time.process_time() - begin) / size.iterations
    found["learning_rate"] = training_of(settings).learning_rate
    return pictures_in(done)


def apart(found: dict[str, Any], low: str, high: str) -> bool:
    """Whether one way is better than another, with intervals that do not touch."""
    return found[low]["high"] < found[high]["low"]


def fashion(folder: Path) -> tuple[Classes, Any]:
    """Fashion-MNIST, 28 pixels."""
    train, test = (
        (
            idx(folder / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1),
            idx(folder / f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64),
        )
        for part in ("train", "t10k")
    )
    return Classes(*train, [str(number) for number in range(10)]), test


def cifar(folder: Path) -> tuple[Classes, Any]:
    """CIFAR-10, 32 pixels: the subset that is there."""
    tables = [pq.read_table(folder / f"{part}.parquet", columns=["image", "label"]) for part in ("train", "test")]
    train, test = ((pixels_of(table["image"]), table["label"].to_numpy().astype(np.int64)) for table in tables)
    return Classes(*train, [str(number) for number in range(10)]), test


def cars(path: Path) -> tuple[Classes, Any]:
    """Stanford cars at 64 pixels: the twenty most frequent models, a third of each for tests."""
    table = pq.read_table(path)
    column = next(name for name in ("model", "label", "class") if name in table.column_names)
    models = np.asarray(table[column].to_pylist())
    names, counts = np.unique(models, return_counts=True)
    chosen = names[np.argsort(-counts, kind="stable")[:20]]
    rows = np.flatnonzero(np.isin(models, chosen))
    rows = np.random.default_rng(0).permutation(rows)
    labels = np.searchsorted(np.sort(chosen), models[rows]).astype(np.int64)
    pixels, cut = pixels_of(table.take(rows)["image"]), len(rows) // 3
    return Classes(pixels[cut:], labels[cut:], [str(name) for name in np.sort(chosen)]), (pixels[:cut], labels[:cut])


def show(title: str, arms: dict[str, dict[str, Any]]) -> None:
    table = Table("arm", "accuracy", "s an iteration", "distance, first and last sixth", title=title)
    for arm, found in arms.items():
        fell = found.get("distance")
        table.add_row(
            arm,
            f"{found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f})",
            f"{found['seconds']:.2f}" if "seconds" in found else "",
            f"{fell[0]:.3f} to {fell[-1]:.3f}" if fell else "",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
