"""Does the filter do the protecting, or the shortness of the student's training? Faces of many people, students of two lengths.

    python benchmarks/filter_protects.py --short --data lfw.parquet    # 100 members, one seed
    python benchmarks/filter_protects.py --data lfw.parquet            # 100 and 700 members, seeds 7, 8, 9; a night; resumes
    python benchmarks/filter_protects.py --last                        # print the stored figures without running
    python benchmarks/filter_protects.py --figure                      # draw them to docs/figures/filter.svg

For each number of members and seed: a teacher, trained until it leaks (excess 0.20; of 700 members 0.10), its candidates, those
that the filter keeps, students of them at `--steps` and at three times as many, and a student of what is left when as many are
dropped at random, at three times as many. All figures by the worst attacker whose family had no vote, with 95 % intervals over
people. Then each family that votes is left out in turn, and judges what the others keep.

The data are a Parquet file with `image`, `identity` and `caption`, and `smiling` for usefulness, of people with three
pictures or more (of 700: two).
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import HERE, machine, print_last, store
from rich.console import Console
from rich.table import Table

from pd.config import Settings, parse_settings
from pd.store.run import Run

HELD_OUT = 200  # people
LEAKS = {100: 0.20, 700: 0.10}  # excess of the teacher that is asked for
TEACHER_STEPS = (1200, 1800, 2700, 4050)  # tried in turn, until it is reached
SHORT_STEPS = 2700  # of the teacher in the short form


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--figure", action="store_true", help="draw the stored figures for the README")
    parser.add_argument("--short", action="store_true", help="100 members and one seed; the teacher as it is after 2,700 steps")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data" / "lfw.parquet")
    parser.add_argument("--runs", type=Path, default=HERE.parent / "runs" / "filter_protects", help="finished ones are kept")
    parser.add_argument("--members", type=int, nargs="+", default=[100, 700])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--teacher-steps", type=int, default=SHORT_STEPS, help="of the short form's teacher")
    parser.add_argument("--steps", type=int, default=900, help="of the shorter student")
    parser.add_argument("--candidates", type=int, default=6144)
    parser.add_argument("--no-random-drop", action="store_true", help="leave the third student out, for want of time")
    parser.add_argument("--one-length", action="store_true", help="leave the students of three times the steps out, too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("filter_protects")
        return
    if arguments.figure:
        _draw(_stored())
        return
    if arguments.short:
        arguments.members, arguments.seeds = [100], arguments.seeds[:1]
    found = _stored()
    for members in arguments.members:
        for seed in arguments.seeds:
            found.setdefault(str(members), {})[str(seed)] = _one(arguments, members, seed)
    figures = _figures(found)
    Console(width=150).print(_table(found))
    store("filter_protects", figures)


def _stored() -> dict[str, dict[str, Any]]:
    """Members -> seed -> figures of earlier runs, which stay beside those of the seeds that are run."""
    file = HERE / "results" / "filter_protects.json"
    found: dict[str, dict[str, Any]] = (
        json.loads(file.read_text(encoding="utf-8"))["figures"]["members"] if file.exists() else {}
    )
    return found


def _one(arguments: argparse.Namespace, members: int, seed: int) -> dict[str, Any]:
    """All figures of one teacher."""
    people = _people(arguments, members, seed)
    for steps in (arguments.teacher_steps,) if arguments.short else TEACHER_STEPS:
        name = f"lfw-{members}-{seed}-{steps}"
        short = _run(arguments, name, people, seed, steps, arguments.steps, ("teacher", "kept", "filtered"))
        if short["arms"]["teacher"]["reid"]["excess"]["value"] >= LEAKS.get(members, 0.10):
            break
    excess = {arm: short["arms"][name] for arm, name in (("teacher", "teacher"), ("kept", "kept"), ("student", "filtered"))}
    if not arguments.one_length:
        excess |= _longer(arguments, name, people, seed, steps)
    settings = _settings(arguments, name, people, seed, steps, arguments.steps, ())
    return {
        **{arm: _ends(found["reid"]["excess"]) for arm, found in excess.items()},
        "kept_share": short["filter"]["kept"] / short["filter"]["candidates"],
        "utility": {arm: (found.get("utility") or {}).get("auc") for arm, found in excess.items()},
        "coverage": {arm: _ends(found["coverage"]["images"]) for arm, found in excess.items()},
        "best_match": {
            arm: {how: _ends(found["best_match"][how]["auc"]) for how in ("single", "averaged")}
            for arm, found in excess.items()
        },
        "by_attacker": {
            arm: {
                who: _ends(one["excess"]) | {"voted": one.get("voted", False)}
                for who, one in found["reid"]["by_attacker"].items()
            }
            for arm, found in excess.items()
        },
        "left_out": _left_out(settings),
        "commit": machine()["commit"],
        "steps": {"teacher": steps, "student": arguments.steps, "student_3x": 3 * arguments.steps},
    }


def _longer(arguments: argparse.Namespace, name: str, people: Path, seed: int, steps: int) -> dict[str, Any]:
    """The students of three times as many steps: of what was kept, and of as many drawn at random."""
    long_name = f"{name}-3x"
    if not (arguments.runs / long_name).exists():
        # All but the student's training is the same: the copy goes on from there.
        shutil.copytree(arguments.runs / name / "private", arguments.runs / long_name / "private")
    chance = () if arguments.no_random_drop else ("random_drop",)
    arms = ("teacher", *chance, "kept", "filtered")
    found = _run(arguments, long_name, people, seed, steps, 3 * arguments.steps, arms)["arms"]
    return {**{arm: found[arm] for arm in chance}, "student_3x": found["filtered"]}


def _people(arguments: argparse.Namespace, members: int, seed: int) -> Path:
    """A manifest of so many members and HELD_OUT others, drawn by seed."""
    out: Path = arguments.runs / f"people-{members}-{seed}.parquet"
    if out.exists():
        return out
    given = ["image", "identity", "caption", "smiling"]
    table = pq.read_table(arguments.data, columns=[name for name in pq.read_schema(arguments.data).names if name in given])
    count = Counter(table["identity"].to_pylist())
    least = 3 if members <= 500 else 2
    fit = [name for name, images in count.items() if least <= images <= 12]
    order = sorted(fit, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())
    if len(order) < members + HELD_OUT:
        sys.exit(f"{arguments.data}: {len(order)} people with {least} to 12 pictures; {members + HELD_OUT} are needed")
    split = dict.fromkeys(order[:members], "member") | dict.fromkeys(order[members : members + HELD_OUT], "holdout")
    table = table.filter(pa.array([name in split for name in table["identity"].to_pylist()]))
    table = table.append_column("split", pa.array([split[name] for name in table["identity"].to_pylist()]))
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out)
    return out


def _settings(
    arguments: argparse.Namespace, name: str, people: Path, seed: int, teacher: int, student: int, arms: tuple[str, ...]
) -> Settings:
    model = {"unet": "small", "batch": 64, "precision": "auto", "workers": [1, 2], "samples_every": 0}
    tree = {
        "name": name,
        "seed": seed,
        "runs": str(arguments.runs),
        "data": {"reader": "manifest", "path": str(people), "size": 32, "mode": "rgb"},
        "reid": {"steps": 900},
        "teacher": model | {"steps": teacher},
        "generate": {"candidates": arguments.candidates, "sampler_steps": 6, "guidance": 1.5},
        "student": model | {"steps": student},
        "audit": {"samples": 2048, "shadows": 0, **({"arms": list(arms)} if arms else {})},
        "release": {"accept_leak": True},  # what leaks is what is measured; nobody is given these folders
    }
    return parse_settings(tree, arguments.set, where="--set")


def _run(
    arguments: argparse.Namespace, name: str, people: Path, seed: int, teacher: int, student: int, arms: tuple[str, ...]
) -> dict[str, Any]:
    """The audit of a run, which is made or gone on with first."""
    settings = _settings(arguments, name, people, seed, teacher, student, arms)
    file = arguments.runs / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")  # JSON is YAML
    done = subprocess.run([sys.executable, "-m", "pd.cli", "run", str(file)], check=False)
    if done.returncode:
        sys.exit(f"{name}: pd run ended with {done.returncode}; the same command goes on")
    found: dict[str, Any] = json.loads(Run(settings.run_dir).audit.read_text(encoding="utf-8"))
    return found


def _left_out(settings: Settings) -> dict[str, Any]:
    """Each learned space left out in turn -> what the others keep, judged by an attacker of its kind."""
    from pd.audit.attack import Attack
    from pd.audit.attackers.choose import attacker
    from pd.audit.subjects import Subjects
    from pd.dataset.private import PrivateDataset
    from pd.dataset.synthetic import SyntheticDataset
    from pd.filters.calibration import find_thresholds, read_measurements
    from pd.filters.decide import decide, scores_of
    from pd.reid.spaces.space import FEATURES

    run = Run(settings.run_dir)
    found: dict[str, Any] = {}
    measured, real = read_measurements(run.reid), PrivateDataset.read(run.dataset)
    files = sorted(run.generated.glob("*.parquet"))
    table, images = pa.concat_tables([pq.read_table(file) for file in files]), SyntheticDataset.open(files)
    on = np.ones(len(table), dtype=bool)
    subjects = Subjects(real, settings.audit, settings.seed)
    for family in (name for name in settings.filter.families if name in FEATURES):
        others = tuple(name for name in settings.filter.families if name != family)
        how = settings.filter.model_copy(update={"families": others})
        keep, _ = decide(scores_of(table, ~on, on), how, find_thresholds(measured, settings.reid.calibration, how))
        judge = attacker(family)
        judge.fit(
            subjects.learning.images, subjects.learning.identities, seed=settings.seed, steps=settings.audit.attacker_steps
        )
        attack = Attack.by(
            judge,
            subjects.members,
            subjects.strangers,
            alpha=subjects.alpha,
            bootstrap=settings.audit.bootstrap,
            seed=settings.seed,
        )
        rows = np.flatnonzero(keep)[: settings.audit.samples]
        excess = attack(images.take(rows).images[:]).found.excess
        found[family] = {"excess": _ends(asdict(excess)), "kept_share": float(keep.mean())}
    return found


def _ends(estimate: dict[str, Any]) -> dict[str, float]:
    return {key: estimate[key] for key in ("value", "low", "high")}


def _figures(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    every = [one for seeds in found.values() for one in seeds.values()]
    return {
        "members": found,
        "kept_high": max(one["kept"]["high"] for one in every),
        "student_high": max(one["student"]["high"] for one in every),
        "student_3x_high": max((one["student_3x"]["high"] for one in every if "student_3x" in one), default=None),
        "kept_share": min(one["kept_share"] for one in every),
    }


def _table(found: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="excess re-identification by the worst attacker that had no vote")
    for heading in ("members", "seed", "teacher", "random drop, 3x", "kept", "student", "student, 3x", "kept share"):
        table.add_column(heading)
    for members, seeds in found.items():
        for seed, one in seeds.items():
            cells = [
                f"{one[arm]['value']:.3f} ({one[arm]['low']:.3f} to {one[arm]['high']:.3f})" if arm in one else "not run"
                for arm in ("teacher", "random_drop", "kept", "student", "student_3x")
            ]
            table.add_row(members, seed, *cells, f"{one['kept_share']:.2f}")
    return table


_ARMS = {
    "teacher": "teacher",
    "random_drop": "student, as many dropped at random",
    "kept": "images that the filter kept",
    "student": "student",
    "student_3x": "student, 3 x as many steps",
}


def _draw(found: dict[str, dict[str, Any]]) -> None:
    """Two attacks on each arm side by side, a row of plots for each number of members."""
    import matplotlib.figure

    matplotlib.rcParams["svg.hashsalt"] = "pd"  # the same bytes for the same figures
    matplotlib.rcParams["svg.fonttype"] = "none"
    figure = matplotlib.figure.Figure(figsize=(9, 0.4 + 2.2 * len(found)), layout="constrained")
    rows = figure.subplots(len(found), 2, squeeze=False, sharey=True)
    for (members, seeds), (leak, match) in zip(found.items(), rows, strict=True):
        arms = [arm for arm in reversed(_ARMS) if any(arm in one for one in seeds.values())]
        for at, arm in enumerate(arms):
            for step, one in enumerate(seeds.values()):
                y = at + 0.15 * (step - (len(seeds) - 1) / 2)
                colour = "tab:red" if arm in ("teacher", "random_drop") else "tab:blue"
                for axes, of in ((leak, one.get(arm)), (match, one["best_match"].get(arm, {}).get("averaged"))):
                    if of:
                        axes.plot([of["low"], of["high"]], [y, y], color=colour)
                        axes.plot(of["value"], y, "o", color=colour, markersize=4)
        leak.axvline(0, color="grey", linewidth=0.8)
        match.axvline(0.5, color="grey", linewidth=0.8)
        leak.set_yticks(range(len(arms)), [_ARMS[arm] for arm in arms])
        leak.set_xlabel(f"excess re-identification, {members} members")
        match.set_xlabel("best match: whose photos were used? (AUC)")
    out = HERE.parent / "docs" / "figures" / "filter.svg"
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()
