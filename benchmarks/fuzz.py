"""Hostile inputs, thousands of them, to everything that reads, and to everything that shows what was read.

    python benchmarks/fuzz.py                   # 18,500 inputs to twelve targets, more to the quick ones
    python benchmarks/fuzz.py --inputs 100 --targets tar parquet    # their figures replace the stored ones of these targets
    python benchmarks/fuzz.py --last            # print the stored figures without running

Every target runs in a process of its own, whose address space is bounded. An input must be read, or refused with a UserError
of one line; a traceback, a crash of the process, a file written outside the run's folder, an image read from outside the
source, or a control character in the output is a failure. Input i follows from (seed, target, i). In `fuzz_guided.py` coverage
chooses the inputs.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
from harness import RESULTS, print_last, store
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "dataset")]  # hostile/: the same inputs as the tests'
from hostile.targets import TARGETS, watched  # noqa: E402

INPUTS = {
    "image": 5000,
    "folder": 300,
    "manifest_csv": 1000,
    "manifest_parquet": 1000,
    "parquet": 1500,
    "tar": 2000,
    "settings_file": 1200,
    "page": 500,
    "terminal": 1000,
    "json_lines": 1500,
    "dicom": 2000,
    "tar_of_people": 1500,
}
MOST_MEMORY = 8 << 30  # bytes of address space, most of which libraries reserve and do not use


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--inputs", type=int, help="for each target")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--part", choices=TARGETS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("fuzz")
    elif arguments.part:
        _feed(arguments.part, arguments.seed, arguments.inputs)
    else:
        _all(arguments)


def _all(arguments: argparse.Namespace) -> None:
    path = RESULTS / "fuzz.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["figures"]["targets"] if path.exists() else {}
    found = {name: kept[name] for name in TARGETS if name in kept}
    for name in arguments.targets:
        command = [
            sys.executable,
            __file__,
            "--part",
            name,
            "--seed",
            str(arguments.seed),
            "--inputs",
            str(arguments.inputs or INPUTS[name]),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        lines = done.stdout.splitlines()
        if done.returncode:
            sys.exit(f"{name}: the process ended with {done.returncode}; {lines[-1] if lines else ''}")
        found[name] = json.loads(lines[-1])
        print(name, json.dumps(found[name]), file=sys.stderr)
    table = Table("target", "inputs", "read", "refused", "failed", "peak MiB", "s", title="hostile inputs")
    for name, counts in found.items():
        table.add_row(name, *(str(counts[key]) for key in ("inputs", "read", "refused", "failed", "peak_mib", "seconds")))
    Console(width=110).print(table)
    figures = {"inputs": sum(counts["inputs"] for counts in found.values())}
    figures |= {"failed": sum(counts["failed"] for counts in found.values()), "targets": found}
    store("fuzz", figures)


def _feed(name: str, seed: int, inputs: int) -> None:
    """Feed one target in this process, and print the counts."""
    begin, outcomes = time.monotonic(), Counter[str]()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    scratch = Path(tempfile.mkdtemp(prefix="pd-fuzz-"))
    for number in range(inputs):
        rng = np.random.default_rng([seed, list(TARGETS).index(name), number])
        try:
            with watched(scratch / "x") as root:
                outcomes[TARGETS[name](root, rng)] += 1
        except Exception:
            outcomes["failed"] += 1
            print(f"{name} {number}: {traceback.format_exc()}", file=sys.stderr)
    shutil.rmtree(scratch, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    counts = {"inputs": inputs, **{key: outcomes[key] for key in ("read", "refused", "failed")}}
    print(json.dumps({**counts, "peak_mib": peak, "seconds": round(time.monotonic() - begin, 1)}))


if __name__ == "__main__":
    main()
