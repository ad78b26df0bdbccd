"""A finished run of configs/smoke.yaml, kept as long as nothing changes that it is made from."""

import fcntl
import hashlib
import os
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

from terminal import ALL_ARMS, ROOT, pd

CONFIG = "configs/smoke.yaml"


def made_once(folder: Path) -> Path:
    """The run below `folder`, where only this module writes; whoever finds none makes it, while others wait.

    What was made from other sources is removed.
    """
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / made_from()
        if not made.exists():
            for old in folder.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            aside = folder / "aside"
            done = pd("run", CONFIG, "--set", f"runs={aside}", "--set", ALL_ARMS, timeout=600)
            assert done.returncode == 0, done.stderr[-3000:]
            aside.rename(made)
    return made / "smoke"


def made_from() -> str:
    """A digest of sources, settings, installed packages, and of what decides how many threads add up sums."""
    whole = hashlib.sha256()
    for file in sorted([*(ROOT / "src").rglob("*.py"), ROOT / CONFIG]):
        whole.update(f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    packages = sorted(f"{one.name} {one.version}" for one in distributions())
    machine = [ALL_ARMS, sys.version, str(os.cpu_count()), os.environ.get("OMP_NUM_THREADS", "")]
    whole.update("\n".join([*packages, *machine]).encode())
    return whole.hexdigest()[:16]
