"""What every benchmark does: say what machine it ran on, store its figures, print them again with --last."""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PACKAGES = ("torch", "diffusers", "deepspeed", "ray", "faiss-cpu", "numpy", "scikit-learn")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, Python, packages, date and commit."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine()
    )
    flags = next((line.split() for line in _lines("/proc/cpuinfo") if line.startswith("flags")), [])
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "bf16_matrix_units": "amx_bf16" in flags,
        "memory_gib": round(memory / 2**20, 1),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain", "--", "src") else ""),
    }


def store(name: str, figures: dict[str, Any]) -> None:
    """Write `results/NAME.json` and print the one line for machines."""
    RESULTS.mkdir(exist_ok=True)
    whole = {"benchmark": name, "figures": figures, "machine": machine()}
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(figures, sort_keys=True))


def print_last(name: str) -> None:
    """Print the stored line without running; exit with 2 when there is none."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        sys.exit(f"{path.name}: never run on this checkout; run benchmarks/{name}.py")
    print(json.dumps(json.loads(path.read_text(encoding="utf-8"))["figures"], sort_keys=True))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "not installed"


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(HERE), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()
