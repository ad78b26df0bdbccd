"""What every benchmark does: say what machine it ran on, store its figures, print them again with --last."""

import itertools
import json
import os
import platform
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PACKAGES = ("torch", "diffusers", "deepspeed", "ray", "faiss-cpu", "numpy", "scikit-learn")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, Python, packages, date and commit."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine()
    )
    flags = next((line.split() for line in _lines("/proc/cpuinfo") if line.startswith("flags")), [])
    changed = _git("status", "--porcelain", "--", ":/src", ":/cluster/slurm.sh")
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "bf16_matrix_units": "amx_bf16" in flags,
        "memory_gib": round(memory / 2**20, 1),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if changed else ""),
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


def random_model(folder: Path, unet: str, side: int, channels: int) -> Path:
    """A model with random weights, in a folder: its autoencoder has Stable Diffusion's shape, 4 channels, 8 pixels a latent.

    Args:
        folder: written unless it is there.
        unet: a size of pd's.
        side: of the pictures, RGB.
        channels: of the autoencoder; a multiple of 4.
    """
    import torch
    from diffusers import AutoencoderKL

    from pd.config import DataSettings, ModelSettings
    from pd.diffusion.components import build
    from pd.diffusion.export import export

    if not folder.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            vae = AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                block_out_channels=(channels,) * 4,
                latent_channels=4,
                norm_num_groups=channels // 4,
                sample_size=side,
            )
        settings = ModelSettings.model_validate({"unet": unet, "autoencoder": "train"})
        export(build(settings, DataSettings(size=side, mode="rgb"), 0, vae.eval()), folder)
    return folder


class Peak:
    """Resident memory of a process and of the largest Ray Data actor below it, looked at twice a second while it runs.

    Attributes:
        mib: `driver_mib` and `worker_mib`, the largest so far.
        first_half: the same, of the first half of the time so far.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._process = psutil.Process(pid)
        self._seen: list[dict[str, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mib(self) -> dict[str, float]:
        return self._largest(self._seen)

    @property
    def first_half(self) -> dict[str, float]:
        return self._largest(self._seen[: max(1, len(self._seen) // 2)])

    @staticmethod
    def _largest(seen: list[dict[str, float]]) -> dict[str, float]:
        return {name: max((one[name] for one in seen), default=0.0) for name in ("driver_mib", "worker_mib")}

    def _watch(self) -> None:
        workers: list[psutil.Process] = []
        for look in itertools.count():
            if self._over.wait(0.5):
                return
            try:
                if look % 10 == 0:  # to find them takes longer than to ask them
                    workers = [p for p in self._process.children(recursive=True) if "MapWorker" in " ".join(p.cmdline())]
                largest = max((worker.memory_info().rss for worker in workers), default=0)
                self._seen.append({"driver_mib": self._process.memory_info().rss / 2**20, "worker_mib": largest / 2**20})
            except psutil.Error:
                workers = []  # one of them has just ended


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
