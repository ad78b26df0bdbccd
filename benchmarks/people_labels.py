"""Do labels of people get better: nine annotators of unequal skill say who smiles, two of them a picture.

    python benchmarks/people_labels.py            # three seeds
    python benchmarks/people_labels.py --last     # print the stored figures without running

Labelled Faces in the Wild (`--data` names a Parquet file with `image` and `smiling`), pictures with a known label, as grey
squares of 32 pixels. Annotators are simulated: each is right with a probability from 0.55 to 0.95, the same for both answers.
Accuracy is of the labels of these pictures against the truth, by every method of `pd labels`; `gain` is that of CCC over the
majority, seed by seed. `test` is the accuracy on other people's pictures of a classifier trained on each method's labels.
"""

import argparse
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from crowd import interval
from harness import print_last, store
from PIL import Image

from pd.classify.inputs import Held
from pd.classify.task import ClassifierTask, load_classifier, predict
from pd.config.labels import LabelsSettings
from pd.config.training import TrainingSettings
from pd.labels.annotators import annotators
from pd.labels.fit import label
from pd.labels.votes import Votes
from pd.training.loop import fit_here

METHODS = ("majority", "dawid_skene", "crowd_layer", "ccc")
SKILLS = np.linspace(0.55, 0.95, 9)
SIDE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lfw.parquet"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("people_labels")
        return
    table = pq.read_table(arguments.data, columns=["image", "identity", "smiling"])
    table = table.filter(table["smiling"].is_valid())
    pixels = np.stack([grey(row["bytes"]) for row in table["image"].to_pylist()])
    smiling, people = table["smiling"].to_numpy().astype(np.int64), np.array(table["identity"].to_pylist())
    rows = []
    for seed in arguments.seeds:
        rows.append(measure(pixels, smiling, people, arguments.steps, seed))
        print(seed, json.dumps(rows[-1]), file=sys.stderr, flush=True)
    figures: dict[str, Any] = {name: interval([row[name] for row in rows]) for name in rows[0]}
    figures |= {"pictures": len(smiling), "seeds": arguments.seeds, "steps": arguments.steps}
    store("people_labels", figures)


def measure(
    pixels: npt.NDArray[np.float32], smiling: npt.NDArray[np.int64], people: npt.NDArray[Any], steps: int, seed: int
) -> dict[str, float]:
    chance = np.random.default_rng([seed, 3])
    names = np.unique(people)
    others = np.isin(people, chance.permutation(names)[: len(names) // 4])
    train, truth = Held(pixels[~others]), smiling[~others]
    votes = crowd(truth, seed)
    training = TrainingSettings(steps=steps, learning_rate=1e-3, checkpoint_every=10**6)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as work:
        targets = {"truth": np.eye(2)[truth]}
        for method in METHODS:
            settings = LabelsSettings(votes=Path("votes"), method=method, training=training, warmup=steps // 3)
            labelled = label(votes, train, settings, Path(work), seed=seed)
            found[method] = float((labelled.labels == truth).mean())
            targets[method] = labelled.probabilities
            told = {int(person.name): person.reliability for person in annotators(votes, labelled)}
            found[f"reliability_error_{method}"] = float(np.mean([abs(told[a] - SKILLS[a]) for a in range(len(SKILLS))]))
        for name, target in targets.items():
            task = ClassifierTask(train, target.astype(np.float32), seed=seed)
            module = load_classifier(fit_here(task, training, Path(work)))
            found[f"test_{name}"] = float((predict(module, Held(pixels[others])).argmax(1) == smiling[others]).mean())
    found["gain"] = found["ccc"] - found["majority"]
    return found


def crowd(truth: npt.NDArray[np.int64], seed: int) -> Votes:
    """Two votes a picture."""
    chance = np.random.default_rng([seed, 4])
    who = np.argsort(chance.random((len(truth), len(SKILLS))), axis=1)[:, :2]
    said = np.where(chance.random(who.shape) < SKILLS[who], truth[:, None], 1 - truth[:, None])
    names = [str(row) for row in range(len(truth))]
    annotator_names = [str(a) for a in range(len(SKILLS))]
    return Votes(np.repeat(np.arange(len(truth)), 2), who.ravel(), said.ravel(), names, annotator_names, ["0", "1"])


def grey(data: bytes) -> npt.NDArray[np.float32]:
    """(SIDE * SIDE,) in [0, 1]."""
    picture = Image.open(io.BytesIO(data)).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return (np.asarray(picture).ravel() / 255).astype(np.float32)


if __name__ == "__main__":
    main()
