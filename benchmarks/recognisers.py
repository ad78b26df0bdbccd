"""The ladders of CRRCD, AIRD and G2D: what each loss adds, by people who were not learned, with intervals over them.

`python benchmarks/recognisers.py --data FOLDER [--seeds 1] [--steps 200] [--sets feret ar]` trains; `--last` prints.
FOLDER holds feret.parquet and ar.parquet (and lfw.parquet for `--across`, which trains on it and tests on both).

Each set's people are halved: one half trains teacher and students, the other is looked for. Each rung of a ladder is a training
of as many steps on the same pictures; CRRCD and AIRD start from one teacher, trained on clear pictures.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from harness import print_last, store

from pd.audit.verification import Measured, verification
from pd.config import DataSettings, ReidSettings
from pd.config.recognisers import METHODS, AirdSettings, CrrcdSettings, G2dSettings
from pd.dataset.people import People, read_people
from pd.dataset.splits import hash_order
from pd.reid.embed import embed
from pd.reid.methods.aird import adapted
from pd.reid.network import load
from pd.reid.recipe import Pictures, make
from pd.reid.rows import Held
from pd.reid.task import training_settings
from pd.reid.views import seen
from pd.training.loop import fit_here

RESULTS = Path(__file__).parent / "results" / "recognisers.json"
SIZES = {"feret": 40, "ar": 32, "lfw": 64}
LOW, SHIFTED, HIDDEN = ("8x8", "12x12", "16x16"), ("blurred", "noisy", "low contrast"), ("half hidden", "masked", "boxes")
SMALL = ("clear", *LOW)
LADDERS = {
    "crrcd": {
        "CE": CrrcdSettings(knowledge=0, weight=0),
        "KD": CrrcdSettings(weight=0),
        "CRD": CrrcdSettings(contrast="instances"),
        "CRRCD": CrrcdSettings(),
    },
    "aird": {
        "KD": CrrcdSettings(weight=0, views=SMALL),
        "instance": AirdSettings(relation=0, views=SMALL),
        "+ relation": AirdSettings(views=SMALL),
    },
    "g2d": {
        "CNN": CrrcdSettings(knowledge=0, weight=0, views=METHODS["g2d"].views),
        "encoder": G2dSettings(reformer=False),
        "+ reformer": G2dSettings(relation=0),
        "+ relation": G2dSettings(),
    },
}
VIEWS = {"crrcd": LOW, "aird": LOW, "g2d": HIDDEN}
ADAPTATION = (
    0.1,
    0.3,
    0.5,
)  # how far the statistics move; the largest that raises no clear figure is not chosen: all are shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--people", type=int, default=60, help="at most, of each half")
    parser.add_argument("--sets", nargs="+", default=["feret", "ar"])
    parser.add_argument("--teacher", help="as reid.teacher: classes, say; by default supcon, trained first")
    parser.add_argument("--across", action="store_true", help="train on lfw, test on the others")
    parser.add_argument("--ladders", nargs="+", default=list(LADDERS))
    parser.add_argument("--last", action="store_true")
    asked = parser.parse_args()
    if not asked.last:
        run(asked)
    else:
        print_last("recognisers")
    show(json.loads(RESULTS.read_text(encoding="utf-8"))["figures"])


def run(asked: argparse.Namespace) -> None:
    begin = time.time()
    held: dict[str, dict[str, dict[str, list[dict[str, Measured]]]]] = {ladder: {} for ladder in asked.ladders}
    for name in asked.sets:
        people = read(asked.data / f"{name}.parquet", SIZES[name])
        training, testing = halves(people, asked.people)
        if asked.across:
            training = halves(read(asked.data / "lfw.parquet", SIZES[name]), asked.people)[0]
        for ladder in asked.ladders:
            rows = held[ladder].setdefault(name, {})
            for seed in range(asked.seeds):
                for step, figures in climb(ladder, training, testing, seed, asked.steps, asked.teacher):
                    rows.setdefault(step, []).append(figures)
                    told = {view: round(figures[view].value, 3) for view in figures}
                    print(f"{time.time() - begin:6.0f} s  {name} {ladder} seed {seed} {step}: {told}", flush=True)
                write(held, asked, time.time() - begin)


def climb(ladder: str, training: People, testing: People, seed: int, steps: int, teacher: str | None):
    """Step -> figures by view: the AUC of people who were not learned."""
    settings = ReidSettings(steps=steps, teacher=teacher)
    given = Pictures(Held(clear_of(training).images), clear_of(training).identities, "benchmark")
    with tempfile.TemporaryDirectory() as work:
        fit = partial(fit_here, settings=training_settings(settings), work=Path(work))
        folder = make(METHODS["supcon"], settings, given, seed, fit)
        yield "teacher", look(load(folder), ladder, testing)
        for step, method in LADDERS[ladder].items():
            network = load(make(method, settings, given, seed, fit))
            yield step, look(network, ladder, testing)
        if ladder == "aird":
            for share in ADAPTATION:
                yield f"+ adaptation {share}", shifted(network, testing, share)


def look(network, ladder: str, testing: People) -> dict[str, Measured]:
    images, who = clear_of(testing).images, clear_of(testing).identities
    rows = partial(embed, network)
    gallery = rows(images)
    views = ("clear", *VIEWS[ladder], *(SHIFTED if ladder == "aird" else ()))
    found = {view: verification(rows, images, who, view, seed=5, clear=gallery)["auc"] for view in views}
    found["aim"] = Measured.mean([found[view] for view in VIEWS[ladder]])
    if ladder == "aird":
        found["shifted"] = Measured.mean([found[view] for view in SHIFTED])
    hidden = covered(testing)
    if ladder == "g2d" and hidden.any():
        everything = rows(testing.images)
        found["real"] = verification(rows, testing.images, testing.identities, "clear", seed=5, clear=everything, shown=hidden)[
            "auc"
        ]
    return found


def shifted(network, testing: People, share: float) -> dict[str, Measured]:
    """Under shift, with statistics adapted to the gallery and to each set of probes."""
    images, who = clear_of(testing).images, clear_of(testing).identities
    gallery = embed(adapted(network, images, share), images)
    found = {}
    for view in ("clear", *LOW, *SHIFTED):
        moved = adapted(network, seen(images, view, 5), share)
        found[view] = verification(partial(embed, moved), images, who, view, seed=5, clear=gallery)["auc"]
    found["aim"] = Measured.mean([found[view] for view in LOW])
    found["shifted"] = Measured.mean([found[view] for view in SHIFTED])
    return found


def read(file: Path, size: int) -> People:
    return read_people(DataSettings(reader="manifest", path=file, size=size, on_bad_image="skip"), beside="shot")


def halves(people: People, most: int) -> tuple[People, People]:
    """Training people and others, at most so many of each; drawn by hash, so that all seeds have the same."""
    order = hash_order(people.identities, 7, "recognisers")
    half = len(order) // 2
    return only(people, set(order[:half][:most])), only(people, set(order[half:][:most]))


def only(people: People, names: set[str]) -> People:
    return people.where(np.array([name in names for name in people.identities]))


def covered(people: People) -> np.ndarray:
    """(N,) AR's pictures with sunglasses or a scarf, by the column `shot`; none elsewhere."""
    return np.array([told.isdigit() and (8 <= int(told) <= 13 or 21 <= int(told) <= 26) for told in people.beside], bool)


def clear_of(people: People) -> People:
    return people.where(~covered(people))


def write(held, asked: argparse.Namespace, seconds: float) -> None:
    """All that is known so far."""
    found = {
        "seconds": round(seconds),
        "steps": asked.steps,
        "seeds": asked.seeds,
        "people": asked.people,
    }
    found |= {"sets": asked.sets, "across": asked.across, "teacher": asked.teacher or "supcon"}
    orders = {}
    for ladder, sets in held.items():
        told, holds = {}, []
        for name, rows in sets.items():
            means = {
                step: {view: Measured.mean([seed[view] for seed in seeds]) for view in seeds[0]} for step, seeds in rows.items()
            }
            told[name] = {
                step: {view: [round(x, 4) for x in (m.value, m.estimate.low, m.estimate.high)] for view, m in views.items()}
                for step, views in means.items()
            }
            steps = list(LADDERS[ladder])
            if all(step in means for step in steps):
                aim = "real" if "real" in means[steps[0]] else "aim"
                rises = all(means[a][aim].value < means[b][aim].value for a, b in pairwise(steps))
                last = means[steps[-1]][aim].above(means[steps[-2]][aim])
                told[name]["last step above"] = [round(x, 4) for x in (last.value, last.low, last.high)]
                holds.append(rises and last.low > 0)
        found[ladder] = told
        orders[ladder] = bool(holds) and all(holds)
    found["order_holds"] = orders
    store("recognisers-across" if asked.across else "recognisers", found)


def show(found: dict) -> None:
    print(f"{found['steps']} steps, {found['seeds']} seeds, at most {found['people']} people a half")
    for ladder in (name for name in LADDERS if name in found):
        for name, steps in found[ladder].items():
            print(f"\n{ladder}, {name}: AUC (95 % interval over people)")
            for step, views in steps.items():
                if isinstance(views, list):
                    print(f"  last step above the one before: {views[0]:+.4f} ({views[1]:+.4f} to {views[2]:+.4f})")
                    continue
                print(f"  {step:16}", "  ".join(f"{view} {v[0]:.3f} ({v[1]:.3f} to {v[2]:.3f})" for view, v in views.items()))
    print("\norder holds:", found["order_holds"])


if __name__ == "__main__":
    main()
