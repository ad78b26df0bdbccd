"""Does the filter protect anybody? The faces example with all arms, over several seeds.

The question behind the arms: is the filtered student safer than one that learned from as many candidates drawn at random?
If it is not, the filter did nothing. Are the kept candidates, which are released too, as safe as it is? And does the filter
decide alike whatever its seed?

    python benchmarks/privacy.py            # three seeds; about 30 minutes each on two quiet cores, and 10 for the consistency
    python benchmarks/privacy.py --last     # print the stored figures without running
    python benchmarks/privacy.py --again    # work the stored figures out by today's rules, without running
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from consistency import filter_consistency
from harness import RESULTS, print_last, store
from privacy_figures import ARMS, figures, tables, worked_out_again
from rich.console import Console

from pd.config import load_settings
from pd.store.run import Run

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--again", action="store_true", help="work the stored figures out by today's rules, without running")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "faces.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "runs" / "privacy", help="folder of the runs; finished ones are kept"
    )
    parser.add_argument("--parallel", type=int, default=1, help="runs at a time")
    parser.add_argument("--filters", type=int, default=3, help="voting filters to compare, of three networks each; 0: none")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("privacy")
        return
    if arguments.again:
        path = RESULTS / "privacy.json"
        whole = json.loads(path.read_text(encoding="utf-8"))
        whole["figures"] = worked_out_again(whole["figures"])
        path.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return
    audits = _run_all(arguments)
    agreement = _consistency(arguments) if arguments.filters else {"why": "not asked for"}
    console = Console(width=150)
    for table in tables(arguments.seeds, audits, agreement):
        console.print(table)
    store("privacy", figures(arguments.seeds, audits, agreement))


def _settings(arguments: argparse.Namespace, seed: int) -> list[str]:
    common = [f"runs={arguments.runs}", f"audit.arms=[{', '.join(ARMS)}]", "audit.shadows=auto", *arguments.set]
    return [*common, f"seed={seed}", f"name=seed{seed}"]


def _run_all(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The audit of each seed's run, made by `pd run` as a user would."""
    waiting, running, audits = list(arguments.seeds), [], {}
    while waiting or running:
        while waiting and len(running) < arguments.parallel:
            seed = waiting.pop(0)
            sets = [word for item in _settings(arguments, seed) for word in ("--set", item)]
            pd = Path(sys.executable).with_name("pd")
            running.append((seed, subprocess.Popen([pd, "run", arguments.config, *sets])))
        seed, process = running.pop(0)
        if process.wait():
            sys.exit(f"seed {seed}: `pd run` ended with {process.returncode}")
    for seed in arguments.seeds:
        path = load_settings(arguments.config, _settings(arguments, seed)).run_dir / "release" / "audit.json"
        audits[seed] = json.loads(path.read_text(encoding="utf-8"))
    return [audits[seed] for seed in arguments.seeds]


def _consistency(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of filters on the first seed's candidates; their networks are kept beside the runs."""
    seed = arguments.seeds[0]
    settings = load_settings(arguments.config, _settings(arguments, seed))
    folder = arguments.runs / f"consistency-seed{seed}"
    return {"run": f"seed {seed}", **filter_consistency(Run(settings.run_dir), settings, folder, filters=arguments.filters)}


if __name__ == "__main__":
    main()
