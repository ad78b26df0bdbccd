"""Are transition matrices of noisy yes-or-no labels found, and does training by them pay?

    python benchmarks/noisy_labels.py            # three seeds; about half an hour on one quiet core
    python benchmarks/noisy_labels.py --last     # print the stored figures without running

Film posters with the genres that at least 400 carry (`--data` names a Parquet file with `image` and 0/1 columns). Labels are
made noisy by (P(present | absent), P(absent | present)). A warmed-up network gives posteriors and losses; T is estimated by
anchors (T), Dual-T, and label correlations (`ours`); classifiers then learn from the noisy labels by importance reweighting
with each, and without (`standard`). `t_error` is the mean absolute error of T's entries over labels; F1 (macro, threshold
0.5) and mAP are on clean test posters. All networks are two layers on features of EfficientNet-Lite0. `sizes`: T's error of
ours over the number of pictures. `mosaics` has the same figures of mosaics of scikit-learn's digits, four in a square.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from crowd import interval, pixels_of
from harness import print_last, store
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, f1_score

from pd.classify.inputs import Held
from pd.classify.task import ClassifierTask, load_classifier, predict
from pd.config.training import TrainingSettings
from pd.labels.reweight import ReweightedTask
from pd.labels.transition import Transitions, anchor, by_correlation, dual
from pd.reid.efficientnet import top_features
from pd.training.loop import fit_here

NOISE = {"0,0.2": (0.0, 0.2), "0.6,0": (0.6, 0.0), "0.2,0.2": (0.2, 0.2), "0.017,0.2": (0.017, 0.2)}
ORDER = ("0,0.2", "0.6,0", "0.2,0.2")
ESTIMATORS = ("t", "dual_t", "ours")
LEAST = 400  # posters that carry a genre
TEST = 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/posters.parquet"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=500)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("noisy_labels")
        return
    table = pq.read_table(arguments.data)
    names = [
        n
        for n, kind in zip(table.schema.names, table.schema.types, strict=True)
        if pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    ]
    clean = np.column_stack([table[name].to_numpy(zero_copy_only=False).astype(np.float32) for name in names])
    clean = clean[:, clean.sum(axis=0) >= LEAST]
    features = top_features(pixels_of(table["image"]))
    settings = TrainingSettings(steps=arguments.steps, learning_rate=1e-3, checkpoint_every=10**6)
    figures = figures_of(features, clean, settings, arguments.seeds, "posters", (700, 1400, 2800, 5600))
    pixels, digits = mosaics(4000, 0)
    figures["mosaics"] = figures_of(pixels, digits, settings, arguments.seeds, "mosaics of digits", (500, 1000, 2000))
    figures |= {"seeds": arguments.seeds, "steps": arguments.steps}
    store("noisy_labels", figures)


def figures_of(
    features: npt.NDArray[np.float32],
    clean: npt.NDArray[np.float32],
    settings: TrainingSettings,
    seeds: list[int],
    title: str,
    sizes: tuple[int, ...],
) -> dict[str, Any]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for noise in NOISE:
        rows[noise] = [measure(features, clean, NOISE[noise], settings, seed) for seed in seeds]
        print(title, noise, json.dumps(rows[noise]), file=sys.stderr, flush=True)
    figures: dict[str, Any] = {}
    for kind in ("t_error", "f1", "map"):
        figures[kind] = {
            noise: {arm: interval([row[kind][arm] for row in found]) for arm in found[0][kind]} for noise, found in rows.items()
        }
        show(f"{title}: {kind}", figures[kind])
    figures["order_holds"] = all(
        figures["t_error"][noise]["ours"]["value"] < min(figures["t_error"][noise][arm]["value"] for arm in ("t", "dual_t"))
        for noise in ORDER
    )
    figures["sizes"] = {
        str(size): interval([t_error_at(features, clean, (0.2, 0.2), settings, seed, size) for seed in seeds]) for size in sizes
    }
    return figures | {"labels": clean.shape[1], "by_correlation": shares(rows)}


def mosaics(images: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Four of scikit-learn's digits in a square, (n, 256) pixels, and which digits are there, (n, 10).

    Labels are correlated: three of four times a digit's neighbour (0 and 1, 2 and 3, ...) is drawn beside it.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    chance = np.random.default_rng([seed, 11])
    first = chance.integers(0, 10, (images, 2))
    second = np.where(chance.random((images, 2)) < 0.75, first ^ 1, chance.integers(0, 10, (images, 2)))
    shown = np.stack([first, second], axis=2).reshape(images, 4)
    of = [np.flatnonzero(digits.target == digit) for digit in range(10)]
    tiles = np.stack([[digits.images[chance.choice(of[digit])] for digit in row] for row in shown])
    squares = tiles.reshape(images, 2, 2, 8, 8).transpose(0, 1, 3, 2, 4).reshape(images, 256)
    present = np.zeros((images, 10), np.float32)
    np.put_along_axis(present, shown, 1.0, axis=1)
    return (squares / 16).astype(np.float32), present


def noisy_of(clean: npt.NDArray[np.float32], noise: tuple[float, float], seed: int) -> npt.NDArray[np.float32]:
    chance = np.random.default_rng([seed, 9]).random(clean.shape)
    flip = np.where(clean > 0.5, chance < noise[1], chance < noise[0])
    return np.where(flip, 1 - clean, clean).astype(np.float32)


def estimates(
    inputs: Held, noisy: npt.NDArray[np.float32], settings: TrainingSettings, seed: int, work: Path, *, one_sided: bool = False
) -> dict[str, Transitions]:
    """T of all labels by each estimator, from one warmed-up network."""
    warm = settings.model_copy(update={"steps": settings.steps // 2})
    module = load_classifier(fit_here(ClassifierTask(inputs, noisy, seed=seed, multi_label=True), warm, work / "warm"))
    posterior = predict(module, inputs, multi_label=True).astype(np.float64)
    losses = -np.log(np.clip(np.where(noisy > 0.5, posterior, 1 - posterior), 1e-7, 1))
    given = noisy.astype(np.float64)
    return {
        "t": anchor(given, posterior),
        "dual_t": dual(given, posterior),
        "ours": by_correlation(given, posterior, losses, one_sided=one_sided, seed=seed),
    }


def measure(
    features: npt.NDArray[np.float32],
    clean: npt.NDArray[np.float32],
    noise: tuple[float, float],
    settings: TrainingSettings,
    seed: int,
) -> dict[str, Any]:
    order = np.random.default_rng(seed).permutation(len(clean))
    few = min(TEST, len(clean) // 4)
    test, train = order[:few], order[few:]
    inputs, noisy = Held(features[train]), noisy_of(clean[train], noise, seed)
    true = np.array([[1 - noise[0], noise[0]], [noise[1], 1 - noise[1]]])
    found: dict[str, Any] = {"t_error": {}, "f1": {}, "map": {}}
    with tempfile.TemporaryDirectory() as work:
        by = estimates(inputs, noisy, settings, seed, Path(work))
        found["how"] = by["ours"].how
        tasks: dict[str, ClassifierTask] = {"standard": ClassifierTask(inputs, noisy, seed=seed, multi_label=True)}
        for arm in ESTIMATORS:
            found["t_error"][arm] = float(np.abs(by[arm].matrices - true).mean())
            tasks[arm] = ReweightedTask(inputs, noisy, by[arm].matrices, seed=seed)
        tasks["true_t"] = ReweightedTask(inputs, noisy, np.tile(true, (clean.shape[1], 1, 1)), seed=seed)
        for arm, task in tasks.items():
            module = load_classifier(fit_here(task, settings, Path(work)))
            said = predict(module, Held(features[test]), multi_label=True)
            found["f1"][arm] = float(f1_score(clean[test], said > 0.5, average="macro", zero_division=0))
            found["map"][arm] = float(average_precision_score(clean[test], said, average="macro"))
    return found


def t_error_at(
    features: npt.NDArray[np.float32],
    clean: npt.NDArray[np.float32],
    noise: tuple[float, float],
    settings: TrainingSettings,
    seed: int,
    size: int,
) -> float:
    rows = np.random.default_rng([seed, size]).permutation(len(clean))[:size]
    true = np.array([[1 - noise[0], noise[0]], [noise[1], 1 - noise[1]]])
    with tempfile.TemporaryDirectory() as work:
        found = estimates(Held(features[rows]), noisy_of(clean[rows], noise, seed), settings, seed, Path(work))["ours"]
    return float(np.abs(found.matrices - true).mean())


def shares(rows: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Share of labels whose T came from correlations, by noise."""
    return {
        noise: float(np.mean([[how == "correlation" for how in row["how"]] for row in found])) for noise, found in rows.items()
    }


def show(kind: str, by_noise: dict[str, Any]) -> None:
    arms = list(next(iter(by_noise.values())))
    table = Table("noise", *arms, title=kind)
    for noise, arms_ in by_noise.items():
        table.add_row(noise, *(f"{arms_[arm]['value']:.4f}" for arm in arms))
    Console().print(table)


if __name__ == "__main__":
    main()
