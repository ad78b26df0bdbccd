"""Do labels from a crowd get better: majority < Dawid-Skene < CrowdLayer < CCC?

    python benchmarks/crowd.py            # three seeds; about half an hour on one quiet core
    python benchmarks/crowd.py --last     # print the stored figures without running

`real`: CIFAR-10N, three votes a picture of 747 annotators (`--data` names the folder with train.parquet and test.parquet).
`independent` and `groups`: Fashion-MNIST (Debian's dataset-fashion-mnist) with sparse synthetic crowds; an annotator is right
with a probability drawn from a Beta distribution, how many votes he gave follows another, and in `groups` all of a group
confuse the same pairs of classes. Accuracy is that of a classifier trained on the labels (for networks over votes: of those
networks), on test pictures with known truth; all have the same network on the same inputs: two layers on features of
EfficientNet-Lite0 (CIFAR-10) or on pixels (Fashion-MNIST).
A million votes: Dawid-Skene's time and peak memory on 1,000,000 votes of 5,000 annotators over 200,000 images.
"""

import argparse
import gzip
import io
import itertools
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from harness import print_last, store
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file

from pd.classify.inputs import Held
from pd.classify.task import ClassifierTask, load_classifier, predict
from pd.config.training import TrainingSettings
from pd.labels.annotators import annotators
from pd.labels.ccc import CccTask
from pd.labels.combine import with_votes
from pd.labels.crowd_layer import CrowdLayerTask
from pd.labels.dawid_skene import dawid_skene
from pd.labels.majority import majority
from pd.labels.result import Labelled
from pd.labels.votes import Votes
from pd.reid.efficientnet import top_features
from pd.training.loop import fit_here

ARMS = ("majority", "dawid_skene", "crowd_layer", "ccc")
ABLATIONS = ("ccc_own_meta", "ccc_one_group")
FASHION = Path("/usr/share/datasets/fashion-mnist")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"), help="folder of CIFAR-10N")
    parser.add_argument("--fashion", type=Path, default=FASHION, help="folder of Fashion-MNIST's IDX files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("crowd")
        return
    settings = TrainingSettings(steps=arguments.steps, learning_rate=2e-3, checkpoint_every=10**6)
    sets: dict[str, Callable[[int], Any]] = {
        "real": lambda seed: real_crowd(arguments.data, arguments.images, seed),
        "independent": lambda seed: synthetic_crowd(arguments.fashion, arguments.images, seed, groups=False),
        "groups": lambda seed: synthetic_crowd(arguments.fashion, arguments.images, seed, groups=True),
    }
    figures: dict[str, Any] = {}
    for name, make in sets.items():
        rows = []
        for seed in arguments.seeds:
            rows.append(measure(*make(seed), settings, seed))
            print(name, seed, json.dumps(rows[-1]), file=sys.stderr, flush=True)
        figures[name] = {arm: interval([row[arm] for row in rows]) for arm in rows[0]}
        show(name, figures[name])
    figures["order_holds"] = all(
        figures[name][low]["value"] < figures[name][high]["value"] for name in sets for low, high in itertools.pairwise(ARMS)
    )
    figures |= alone(million_votes)
    figures |= {"seeds": arguments.seeds, "images": arguments.images, "steps": arguments.steps}
    store("crowd", figures)


def measure(
    train: Held,
    votes: Votes,
    truth: npt.NDArray[np.int64],
    test: Held,
    test_truth: npt.NDArray[np.int64],
    settings: Any,
    seed: int,
) -> dict[str, float]:
    """Test accuracy of every arm, by name.

    And `labels_ARM`, the accuracy of its labels of the training pictures (of networks: put together with the votes, as
    `pd labels` does; without them `seen_ARM`), and `few_ARM`, by `few_votes`.
    """
    found: dict[str, float] = {}

    def accuracy(probabilities: npt.NDArray[np.float32], right: npt.NDArray[np.int64]) -> float:
        return float((probabilities.argmax(1) == right).mean())

    with tempfile.TemporaryDirectory() as work:
        for arm, labelled in (("majority", majority(votes)), ("dawid_skene", dawid_skene(votes))):
            task = ClassifierTask(train, labelled.probabilities.astype(np.float32), seed=seed)
            module = load_classifier(fit_here(task, settings, Path(work)))
            found[arm] = accuracy(predict(module, test), test_truth)
            found[f"labels_{arm}"] = float((labelled.labels == truth).mean())
            found[f"few_{arm}"] = few_votes(votes, labelled, truth)
        warmup = settings.steps // 3
        tasks = {
            "crowd_layer": CrowdLayerTask(train, votes, seed=seed),
            "ccc": CccTask(train, votes, seed=seed, warmup=warmup),
            "ccc_own_meta": CccTask(train, votes, seed=seed, warmup=warmup, meta="own"),
            "ccc_one_group": CccTask(train, votes, seed=seed, warmup=warmup, groups=1),
        }
        for arm, task in tasks.items():
            out = fit_here(task, settings, Path(work))
            folders = [out] if arm == "crowd_layer" else [out / "network-0", out / "network-1"]
            modules = [load_classifier(folder) for folder in folders]
            found[arm] = accuracy(np.mean([predict(module, test) for module in modules], axis=0), test_truth)
            held = load_file(out / "labels.safetensors")
            seen, confusions = held["probabilities"].astype(np.float64), held["confusions"].astype(np.float64)
            labelled = Labelled(with_votes(seen, votes, confusions), confusions)
            found[f"labels_{arm}"] = float((labelled.labels == truth).mean())
            found[f"seen_{arm}"] = float((seen.argmax(1) == truth).mean())
            found[f"few_{arm}"] = few_votes(votes, labelled, truth)
    return found


def few_votes(votes: Votes, labelled: Labelled, truth: npt.NDArray[np.int64]) -> float:
    """Mean absolute error of the reliability of annotators with 5 to 20 votes, against their share of right votes."""
    given = np.bincount(votes.annotator, minlength=len(votes.annotators))
    right = np.bincount(votes.annotator, votes.label == truth[votes.image], len(votes.annotators))
    told = {person.name: person.reliability for person in annotators(votes, labelled)}
    few = np.flatnonzero((given >= 5) & (given <= 20))
    return float(np.mean([abs(told[votes.annotators[a]] - right[a] / given[a]) for a in few])) if len(few) else float("nan")


def real_crowd(folder: Path, images: int, seed: int) -> tuple[Any, ...]:
    """CIFAR-10N: pictures, votes with the annotators' ids, truth, and test pictures."""
    table = pq.read_table(folder / "train.parquet")
    rows = np.sort(np.random.default_rng(seed).permutation(len(table))[:images])
    table = table.take(rows)
    said = np.stack([table[f"human{k}"].to_numpy() for k in (1, 2, 3)], axis=1)
    who = np.stack([table[f"worker{k}"].to_numpy() for k in (1, 2, 3)], axis=1)
    names, number = np.unique(who.ravel(), return_inverse=True)
    votes = Votes(
        np.repeat(np.arange(len(table)), 3),
        number.astype(np.int64),
        said.ravel().astype(np.int64),
        [str(i) for i in range(len(table))],
        [str(name) for name in names],
        [str(c) for c in range(10)],
    )
    test = pq.read_table(folder / "test.parquet").slice(0, 4000)
    inputs = [Held(top_features(pixels_of(part["image"]))) for part in (table, test)]
    return inputs[0], votes, table["label"].to_numpy().astype(np.int64), inputs[1], test["label"].to_numpy().astype(np.int64)


def synthetic_crowd(folder: Path, images: int, seed: int, *, groups: bool) -> tuple[Any, ...]:
    """Fashion-MNIST with 300 annotators, two votes a picture; in `groups` five shared confusions.

    Skills are from Beta(3, 2). An annotator's part of the votes is in proportion to a draw from Beta(0.5, 4): most gave few.
    """
    pixels, labels = idx(folder / "train-images-idx3-ubyte.gz", 16), idx(folder / "train-labels-idx1-ubyte.gz", 8)
    test, test_labels = idx(folder / "t10k-images-idx3-ubyte.gz", 16), idx(folder / "t10k-labels-idx1-ubyte.gz", 8)
    chance = np.random.default_rng([seed, 5])
    rows = chance.permutation(len(labels))[:images]
    truth = labels[rows].astype(np.int64)
    annotators = 300
    skill = chance.beta(3, 2, annotators)
    wrong = chance.integers(1, 10, (5 if groups else annotators, 10))  # which other class a class is taken for, as an offset
    of = chance.integers(0, 5, annotators) if groups else np.arange(annotators)
    # The two largest of log part + Gumbel noise are two draws without replacement.
    parts = np.log(chance.beta(0.5, 4, annotators)) + chance.gumbel(size=(images, annotators))
    who = np.argpartition(-parts, 2, axis=1)[:, :2]
    right = chance.random(who.shape) < skill[who]
    taken = (truth[:, None] + wrong[of[who], truth[:, None]]) % 10
    anything = chance.integers(0, 10, who.shape)
    said = np.where(right, truth[:, None], np.where(chance.random(who.shape) < 0.7, taken, anything))
    votes = Votes(
        np.repeat(np.arange(images), 2),
        who.ravel().astype(np.int64),
        said.ravel().astype(np.int64),
        [str(i) for i in range(images)],
        [str(a) for a in range(annotators)],
        [str(c) for c in range(10)],
    )

    def flat(given: npt.NDArray[np.uint8]) -> Held:
        return Held((given.reshape(len(given), -1) / 255).astype(np.float32))

    return flat(pixels.reshape(-1, 784)[rows]), votes, truth, flat(test.reshape(-1, 784)), test_labels.astype(np.int64)


def pixels_of(column: Any) -> npt.NDArray[np.uint8]:
    """(N, H, W, 3) uint8 of a column of encoded images, all of one size."""
    return np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in column.to_pylist()])


def idx(path: Path, header: int) -> npt.NDArray[np.uint8]:
    """The bytes of an IDX file behind its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[header:]


def alone(work: Callable[[], Any]) -> Any:
    """What a function gives in a process of its own, whose peak memory is its own, too."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work)


def million_votes() -> dict[str, float]:
    """Dawid-Skene on a million votes: seconds, and by how much the process's peak memory rose, MiB."""
    chance = np.random.default_rng(0)
    images, annotators, classes, count = 200_000, 5_000, 10, 1_000_000
    truth, skill = chance.integers(0, classes, images), chance.beta(4, 2, annotators)
    image, who = chance.integers(0, images, count), chance.integers(0, annotators, count)
    said = np.where(chance.random(count) < skill[who], truth[image], chance.integers(0, classes, count))
    names = [str(i) for i in range(images)]
    votes = Votes(image, who, said, names, names[:annotators], names[:classes])
    before, begin = _peak_mib(), time.monotonic()
    found = dawid_skene(votes)
    seconds = time.monotonic() - begin
    return {
        "million_votes_s": seconds,
        "million_votes_mib": _peak_mib() - before,
        "million_votes_accuracy": float((found.labels == truth).mean()),
    }


def _peak_mib() -> float:
    """Of this program alone: what `getrusage` tells is inherited from the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def interval(values: list[float]) -> dict[str, float]:
    """Mean over seeds with a 95 % interval by Student's t."""
    from scipy.stats import t

    mean = float(np.mean(values))
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
    return {"value": mean, "low": mean - half, "high": mean + half}


def show(name: str, arms: dict[str, dict[str, float]]) -> None:
    table = Table("arm", "test accuracy", "of its labels", "error of reliability, few votes", title=name)
    for arm in (*ARMS, *ABLATIONS):
        cells = [arms[arm], arms[f"labels_{arm}"], arms[f"few_{arm}"]]
        table.add_row(arm, *(f"{cell['value']:.4f} ({cell['low']:.4f} to {cell['high']:.4f})" for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    main()
