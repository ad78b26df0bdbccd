"""What goes wrong on clusters, done on purpose to small real runs: each must end as if nothing had happened, or in one clear
error after which the same command ends so.

    python benchmarks/chaos.py                          # every kind of fault, one to four minutes each on two cores
    python benchmarks/chaos.py --kinds disk_full s3_slow  # some; their figures replace the stored ones of these kinds
    python benchmarks/chaos.py --last                   # print the stored figures without running

Generation and scoring run the stream on a cluster of several raylets on this machine; training runs Ray Train on two of them. A
fault is survived when the rows (their bytes, by digest) or the weights equal those of a run that nobody disturbed, at once or
after one `UserError` and the same call again. The faults are in `chaos_stream.py`, `chaos_storage.py` and `chaos_training.py`.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from harness import RESULTS, print_last, store
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path[1:1] = [
    str(ROOT / "tests"),
    str(ROOT / "tests" / "engine"),
]  # stream_world, small_training, bucket: as the tests have them
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # as `pd` has it: Ray's own would be left nothing beside other work

LIMIT = 900  # seconds for a kind; most take two minutes where nothing else runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--kinds", nargs="+", choices=_kinds(), default=_kinds())
    parser.add_argument("--part", choices=_kinds(), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("chaos")
    elif arguments.part:
        _one(arguments.part)
    else:
        _all(arguments.kinds)


def _kinds() -> list[str]:
    """Names of the faults, without importing what they need."""
    files = ("chaos_stream.py", "chaos_storage.py", "chaos_training.py")
    text = "".join((Path(__file__).parent / file).read_text(encoding="utf-8") for file in files)
    return re.findall(r"^def ([a-z]\w+)\(root: Path\) -> Result:", text, re.MULTILINE)


def _all(kinds: list[str]) -> None:
    found = _stored()
    for kind in kinds:
        begin = time.monotonic()
        failed: dict[str, Any] = {"faults": 1, "survived": 0}
        with subprocess.Popen([sys.executable, __file__, "--part", kind], stdout=subprocess.PIPE, text=True) as process:
            try:
                said, _ = process.communicate(timeout=LIMIT)
                ended = failed | {"ended": f"exit {process.returncode}"}
                found[kind] = ended if process.returncode else json.loads(said.splitlines()[-1])
            except subprocess.TimeoutExpired:
                for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                    with suppress(psutil.Error):
                        one.kill()
                found[kind] = failed | {"ended": f"hung: nothing after {LIMIT} s"}
        found[kind]["seconds"] = round(time.monotonic() - begin, 1)
        print(kind, json.dumps(found[kind]), file=sys.stderr)
        _show(found)
        store("chaos", figures(found))


def figures(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The sums of all kinds, and each of them. Rows are those of the kinds that count some: a training has none."""
    names = ("faults", "survived", "rows_lost", "rows_doubled")
    sums = {name: sum(one.get(name, 0) for one in found.values()) for name in names}
    counted = sum("rows_lost" in one for one in found.values())
    return {"kinds": len(found), "kinds_with_rows": counted, **sums, "by_kind": found}


def _stored() -> dict[str, dict[str, Any]]:
    path = RESULTS / "chaos.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["figures"]["by_kind"] if path.exists() else {}
    return {kind: kept[kind] for kind in _kinds() if kind in kept}


def _show(found: dict[str, dict[str, Any]]) -> None:
    table = Table("fault", "injected", "survived", "rows lost", "doubled", "time lost, s", "ended", title="chaos")
    for kind, one in found.items():
        names = ("faults", "survived", "rows_lost", "rows_doubled", "time_lost", "ended")
        table.add_row(kind, *(str(one.get(name, "-")) for name in names))
    Console(width=140, stderr=True).print(table)


def _one(kind: str) -> None:
    """Run one kind in this process, and print its figures."""
    import importlib

    for name in ("chaos_stream", "chaos_storage", "chaos_training"):
        module = importlib.import_module(name)
        if hasattr(module, kind):
            scratch = tempfile.mkdtemp(prefix="pdc-")  # short: sockets lie in it
            os.environ["RAY_TMPDIR"] = scratch
            failed = False
            try:
                print(json.dumps(getattr(module, kind)(Path(scratch))), flush=True)
            except Exception:
                failed = True
                traceback.print_exc()
            shutil.rmtree(scratch, ignore_errors=True)
            os._exit(failed)  # what hangs on purpose shall not keep this process


if __name__ == "__main__":
    main()
