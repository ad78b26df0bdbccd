"""Private classifiers on Fashion-MNIST, each training picture a person: accuracy at an epsilon, and what a query buys.

    python benchmarks/private_classifier.py --work WORK --short     one seed, 50 teachers, 100 and 500 queries
    python benchmarks/private_classifier.py --work WORK --reduced   one seed, 100 small teachers, 100 and 300 queries
    python benchmarks/private_classifier.py --work WORK             three seeds, 50 to 250 teachers, 500 to 2,000 queries: a day

Each part is kept in WORK once it is done, so the same command resumes. Every arm is tuned by two tries (queries of the votes;
steps of DP-SGD) on test pictures 2,000 to 4,000; the figures are of pictures 4,000 to 10,000. Pictures 0 to 2,000 stand for
public ones without labels. Arms whose name ends in `paper` have no guarantee: their generator learned against a network of all
training pictures; the epsilon they are under is that of their votes.

Arms: noise (PATE, noise queries), public (PATE, public queries), generated, vae, tangent_normal (each `sound`: the generator
learns against the student), the same with `_judge` (against a DP-SGD classifier that takes 0.3 of the budget) and `_paper`,
dp_sgd.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from formal import pictures

from pd.classifier.examples import Examples
from pd.classifier.make import Order, make
from pd.classifier.plan import make_plan
from pd.classify.inputs import Held
from pd.classify.task import load_classifier, predict
from pd.config.classifier import ClassifierSettings
from pd.dp.noise import NoiseSource
from pd.progress import Progress
from pd.seeds import derive
from pd.training.loop import fit_here

NAMES = tuple(map(str, range(10)))
PUBLIC, VALIDATION = slice(0, 2000), slice(2000, 4000)
TEST = slice(4000, 10_000)
SOUND = ("noise", "generated", "tangent_normal")
ARMS: dict[str, dict[str, Any]] = {
    "noise": {"method": "pate", "queries_from": "noise"},
    "public": {"method": "pate", "queries_from": "public"},
    "dp_sgd": {"method": "dp_sgd"},
    "generated": {"method": "generated"},
    "vae": {"method": "vae"},
    "tangent_normal": {"method": "tangent_normal"},
    "generated_judge": {"method": "generated", "against": "dp_sgd"},
    "vae_judge": {"method": "vae", "against": "dp_sgd"},
    "tangent_normal_judge": {"method": "tangent_normal", "against": "dp_sgd"},
    "generated_paper": {"method": "generated", "accounting": "paper"},
    "vae_paper": {"method": "vae", "accounting": "paper"},
    "tangent_normal_paper": {"method": "tangent_normal", "accounting": "paper"},
}
FULL: dict[str, Any] = {
    "seeds": 3, "teachers": 250, "queries": (500, 2000), "width": 32, "teacher": 600, "student": 1500, "generator": 600,
    "sgd": ((300, 1024), (600, 2048)), "curve": (250, 500, 1000, 2000),
}  # fmt: skip
SHORT: dict[str, Any] = {
    "seeds": 1, "teachers": 50, "queries": (100, 500), "width": 16, "teacher": 200, "student": 400, "generator": 150,
    "sgd": ((100, 512), (200, 1024)), "curve": (50, 100, 250, 500, 1000),
}  # fmt: skip
REDUCED: dict[str, Any] = {
    "seeds": 1, "teachers": 100, "queries": (100, 300), "width": 8, "teacher": 60, "student": 200, "generator": 100,
    "sgd": ((60, 512), (120, 512)), "curve": (50, 100, 200, 400, 800), "rounds": 3,
}  # fmt: skip
FORMS = {"full": FULL, "short": SHORT, "reduced": REDUCED}


@contextmanager
def bar(name: str) -> Iterator[Progress]:
    """A line when a part is done."""
    begin, last = time.monotonic(), {}

    def progress(done: int, total: int, info: Any) -> None:
        last.update(info)

    yield progress
    print(f"    {name}: {time.monotonic() - begin:.0f} s {last}", flush=True)


def settings_of(arm: str, epsilon: float, tried: int, size: dict[str, Any], **more: Any) -> ClassifierSettings:
    """Of the section `classifier`."""
    steps, batch = size["sgd"][tried]
    return ClassifierSettings.model_validate(
        {
            "label": "class", "epsilon": epsilon, "delta": 1e-5, "images_per_person": 1, "teachers": size["teachers"],
            "queries": size["queries"][tried], "width": size["width"], "rounds": size.get("rounds", 5),
            "teacher": {"steps": size["teacher"], "learning_rate": 3e-3}, "student": {"steps": size["student"]},
            "generator": {"steps": size["generator"]}, "sgd_steps": steps, "sgd_batch": batch, "sgd_micro_batch": 128,
            "accept_no_guarantee": True, "reproducible": True, **ARMS[arm], **more,
        }
    )  # fmt: skip


def made(settings: ClassifierSettings, held: Examples, public: np.ndarray, seed: int, work: Path, teachers: Path) -> Path:
    """The classifier's folder; teachers are trained once for all arms."""

    def many(tasks: Any, how: Any, folder: Path, progress: Progress) -> list[Path]:
        found = []
        for number, task in enumerate(tasks):
            found.append(fit_here(task, how, teachers))
            progress(number + 1, len(tasks), {})
        return found

    plan = make_plan(settings, held.people)
    order = Order(settings, plan, work, derive(seed, "classifier"), "fashion-mnist", fit_here, many, public)
    return make(order, held, NoiseSource.of_seed(derive(seed, settings.method, str(settings.epsilon))), bar)


def right(folder: Path, images: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy."""
    return float((predict(load_classifier(folder), Held(images)).argmax(axis=1) == truth).mean())


def judged(
    settings: ClassifierSettings, held: Examples, tests: np.ndarray, truth: np.ndarray, seed: int, work: Path, teachers: Path
) -> dict[str, Any]:
    """Accuracy on pictures for tuning, and on others."""
    print(work.name, flush=True)
    out = made(settings, held, tests[PUBLIC], seed, work, teachers)
    return {name: right(out, tests[part], truth[part]) for name, part in (("validation", VALIDATION), ("test", TEST))}


def kept(path: Path, work: Any) -> dict[str, Any]:
    """What a part found, done once."""
    if not path.exists():
        begin = time.monotonic()
        found = {**work(), "wall_s": time.monotonic() - begin}
        path.write_text(json.dumps(found), encoding="utf-8")
        print(f"  {path.stem}: {found}", flush=True)
    found = json.loads(path.read_text(encoding="utf-8"))
    return dict(found)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All arms that are asked for, one after the other."""
    size = dict(FORMS[args.form])
    size |= {key: value for key, value in (("teachers", args.teachers), ("seeds", args.seeds)) if value}
    images, labels = (array[:, 2:30, 2:30] if array.ndim == 4 else array for array in pictures(args.data, "train"))
    tests, truth = (array[:, 2:30, 2:30] if array.ndim == 4 else array for array in pictures(args.data, "t10k"))
    held = Examples(np.ascontiguousarray(images), labels, np.arange(len(labels) + 1), NAMES)
    tests = np.ascontiguousarray(tests)
    name = f"{args.form}-{size['teachers']}"
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for seed in range(size["seeds"]):
        teachers = args.work / f"{name}-teachers-{seed}"
        for epsilon in args.epsilons:
            for arm in args.arms:
                tries = []
                for tried in range(2):
                    settings = settings_of(arm, epsilon, tried, size)
                    stem = f"{name}-{arm}-{epsilon:g}-{tried}-{seed}"
                    work = args.work / stem
                    one = partial(judged, settings, held, tests, truth, seed, work, teachers)
                    tries.append(kept(args.work / f"{stem}.json", one))
                    if args.deadline and time.time() > args.deadline:
                        break
                best = max(range(len(tries)), key=lambda number: tries[number]["validation"])
                told = {"accuracy": tries[best]["test"], "tried": best, "tries": len(tries)}
                found.setdefault(arm, {}).setdefault(f"{epsilon:g}", []).append(told)
                if args.deadline and time.time() > args.deadline:
                    return report(found, {}, size)
    curve = queries(args, size, held, tests, truth, name) if args.curve else {}
    return report(found, curve, size)


def queries(
    args: argparse.Namespace, size: dict[str, Any], held: Examples, tests: np.ndarray, truth: np.ndarray, name: str
) -> dict[str, Any]:
    """Epsilon and accuracy over the number of public queries, at one noise: that of the middle number at epsilon 10."""
    middle = size["curve"][len(size["curve"]) // 2]
    sigma = make_plan(settings_of("public", 10.0, 0, size, queries=middle), held.people).sigma
    found = {}
    for count in size["curve"]:
        settings = settings_of("public", 1e6, 0, size, queries=count, sigma=sigma)

        def one(settings: ClassifierSettings = settings, count: int = count) -> dict[str, Any]:
            work = args.work / f"{name}-curve-{count}"
            out = made(settings, held, tests[PUBLIC], 0, work, args.work / f"{name}-teachers-0")
            spent = make_plan(settings, held.people).ledger.epsilon(1e-5).value
            return {"epsilon": spent, "accuracy": right(out, tests[TEST], truth[TEST]), "sigma": sigma}

        told = kept(args.work / f"{name}-curve-{count}.json", one)
        found[str(count)] = {key: told[key] for key in ("epsilon", "accuracy", "sigma")}
    return found


def report(found: dict[str, dict[str, list[dict[str, Any]]]], curve: dict[str, Any], size: dict[str, Any]) -> dict[str, Any]:
    """Means over seeds with Student's intervals; of one seed with Wilson's over test pictures, which say nothing of seeds."""
    from scipy.stats import t

    arms: dict[str, Any] = {}
    for arm, by in found.items():
        for epsilon, told in by.items():
            values = [one["accuracy"] for one in told]
            mean, n = float(np.mean(values)), TEST.stop - TEST.start
            reach = 1.96 * (mean * (1 - mean) / n) ** 0.5
            if len(values) > 1:
                reach = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
            arms.setdefault(arm, {})[epsilon] = {
                "value": mean, "low": mean - reach, "high": mean + reach, "seeds": len(values),
                "interval": "over seeds" if len(values) > 1 else "over test pictures, one seed",
                "tried": [one["tried"] for one in told], "tries": min(one["tries"] for one in told),
            }  # fmt: skip

    def value(arm: str, epsilon: str) -> float | None:
        return arms.get(arm, {}).get(epsilon, {}).get("value")

    rungs = [[value(arm, epsilon) for arm in SOUND] for epsilon in ("2", "10")]
    whole = all(one is not None for rung in rungs for one in rung)
    at_ten = (value("tangent_normal", "10"), value("dp_sgd", "10"))
    return {
        "arms": arms,
        "queries": curve,
        "order_holds": all(a < b < c for a, b, c in rungs) if whole else None,  # type: ignore[operator]
        "vs_dp_sgd": None if None in at_ten else at_ten[0] - at_ten[1],  # type: ignore[operator]
        "size": {key: list(value) if isinstance(value, tuple) else value for key, value in size.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--work", type=Path, default=Path("classifier-work"))
    parser.add_argument("--short", dest="form", action="store_const", const="short", default="full")
    parser.add_argument("--reduced", dest="form", action="store_const", const="reduced")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--epsilons", nargs="+", type=float, default=[10.0, 2.0])
    parser.add_argument("--teachers", type=int, help="instead of the form's")
    parser.add_argument("--seeds", type=int, help="instead of the form's")
    parser.add_argument("--minutes", type=float, help="stop and store after so many; the same command resumes")
    parser.add_argument("--no-curve", dest="curve", action="store_false")
    parser.add_argument("--last", action="store_true")
    args = parser.parse_args()
    if args.last:
        harness.print_last("private_classifier")
        return
    args.deadline = time.time() + 60 * args.minutes if args.minutes else None
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    args.work.mkdir(parents=True, exist_ok=True)
    harness.store("private_classifier", run(args) | {"form": args.form})


if __name__ == "__main__":
    main()
