"""Does the filter protect anybody? The faces example with all four arms, over several seeds.

The question behind the four arms: is the filtered student safer than one that learned from as many candidates drawn at random?
If it is not, the filter did nothing.

    python benchmarks/privacy.py            # three seeds; about 20 minutes each on two quiet cores
    python benchmarks/privacy.py --last     # print the stored figures without running
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from harness import print_last, store
from rich.console import Console
from rich.table import Table

from pd.config import ARMS, load_settings

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "faces.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "runs" / "privacy", help="folder of the runs; finished ones are kept"
    )
    parser.add_argument("--parallel", type=int, default=1, help="runs at a time")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("privacy")
        return
    audits = _run_all(arguments)
    console = Console(width=150)
    for title, pick in (("excess re-identification, worst attacker", _excess), ("utility AUC", _utility), ("KID x 1000", _kid)):
        console.print(_table(title, arguments.seeds, audits, pick))
    console.print(_paired(arguments.seeds, audits))
    store("privacy", _figures(arguments.seeds, audits))


def _run_all(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The audit of each seed's run, made by `pd run` as a user would."""
    common = [f"runs={arguments.runs}", f"audit.arms=[{', '.join(ARMS)}]", *arguments.set]
    waiting, running, audits = list(arguments.seeds), [], {}
    while waiting or running:
        while waiting and len(running) < arguments.parallel:
            seed = waiting.pop(0)
            sets = [word for item in [*common, f"seed={seed}", f"name=seed{seed}"] for word in ("--set", item)]
            pd = Path(sys.executable).with_name("pd")
            running.append((seed, subprocess.Popen([pd, "run", arguments.config, *sets])))
        seed, process = running.pop(0)
        if process.wait():
            sys.exit(f"seed {seed}: `pd run` ended with {process.returncode}")
    for seed in arguments.seeds:
        path = load_settings(arguments.config, [*common, f"name=seed{seed}"]).run_dir / "release" / "audit.json"
        audits[seed] = json.loads(path.read_text(encoding="utf-8"))
    return [audits[seed] for seed in arguments.seeds]


def _excess(arm: dict[str, Any]) -> dict[str, float]:
    return arm["reid"]["excess"]


def _utility(arm: dict[str, Any]) -> dict[str, float]:
    return arm["utility"]["auc"]


def _kid(arm: dict[str, Any]) -> dict[str, float]:
    return {key: 1000 * value for key, value in arm["fidelity"]["kid"].items() if key in ("value", "low", "high")}


def _table(title: str, seeds: list[int], audits: list[dict[str, Any]], pick: Any) -> Table:
    table = Table(title=title)
    for heading in ("arm", *(f"seed {seed}" for seed in seeds), "mean"):
        table.add_column(heading)
    for arm in ARMS:
        cells = [pick(audit["arms"][arm]) for audit in audits]
        table.add_row(arm, *map(_interval, cells), f"{mean(c['value'] for c in cells):.3f}")
    return table


def _interval(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _paired(seeds: list[int], audits: list[dict[str, Any]]) -> Table:
    table = Table(title="how much less the filtered student gives away, paired 95 % intervals")
    for heading in ("than the arm", *(f"seed {seed}" for seed in seeds)):
        table.add_column(heading)
    for arm in ARMS:
        if arm != "filtered":
            table.add_row(arm, *(_interval(audit["less_than"][arm]) for audit in audits))
    return table


def _figures(seeds: list[int], audits: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything the audits found, by arm and seed, and what the benchmark asks of them."""
    means = {arm: mean(_excess(audit["arms"][arm])["value"] for audit in audits) for arm in ARMS}
    utility = {arm: mean(_utility(audit["arms"][arm])["value"] for audit in audits) for arm in ARMS}
    # Of the same people resampled alike: how much less the filtered student gives away than the other arms.
    less = [audit["less_than"] for audit in audits]
    return {
        "seeds": seeds,
        "arms": {arm: [audit["arms"][arm] for audit in audits] for arm in ARMS},
        "real": [audit["real"] for audit in audits],
        "filter": [audit["filter"] for audit in audits],
        "mean_excess": means,
        "mean_utility_auc": utility,
        "filtered_over_teacher": means["filtered"] / means["teacher"] if means["teacher"] else None,
        "filtered_less_than": less,
        "filtered_below_random_drop": [found["random_drop"]["low"] > 0 for found in less],
        "utility_gap": utility["teacher"] - utility["filtered"],
    }


if __name__ == "__main__":
    main()
