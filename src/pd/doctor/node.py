"""What a machine is asked, itself or as a node of a cluster, and what it answers. Needs no Ray."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pd.doctor.door import knock_at
from pd.errors import UserError
from pd.store.places import Place

# Packages whose other version makes another run, or none.
PACKAGES = ("privacy-distillation", "ray", "torch", "diffusers", "transformers", "deepspeed", "pyarrow", "numpy")
SHARED = Path("/dev/shm")
_LOOK_S = 20.0


@dataclass(frozen=True)
class Questions:
    """What a node is asked beside what it is.

    Attributes:
        door: the driver's address and a port on which it listens; see `door`.
        sign: a file that the driver has put where runs will lie.
        bucket: an object that the driver has put there, as `s3://bucket/prefix` and its name below.
    """

    door: tuple[str, int] | None = None
    sign: Path | None = None
    bucket: tuple[str, str] | None = None


@dataclass(frozen=True)
class Node:
    """A machine.

    Attributes:
        name: of the host.
        clock: seconds since 1970, by its own clock.
        python: its version.
        versions: package -> version, of those in PACKAGES that are installed.
        gpus: how many the NVIDIA driver shows.
        gpus_used: how many torch sees; None where there are none.
        free: bytes free for temporary files.
        total: bytes of that disk.
        shared: bytes of shared memory; None where the system has no such mount.
        knock: why the driver's door did not open; empty: it did, or was not asked for.
        sees: whether the sign is there; None: not asked.
        bucket: why the object cannot be read; empty: it can, or was not asked for.
    """

    name: str
    clock: float
    python: str
    versions: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0
    gpus_used: int | None = None
    free: int = 0
    total: int = 1
    shared: int | None = None
    knock: str = ""
    sees: bool | None = None
    bucket: str = ""


def look_here(questions: Questions) -> Node:
    """Answer for the machine that this runs on."""
    clock, disk, gpus = time.time(), shutil.disk_usage(tempfile.gettempdir()), _gpus()
    return Node(
        name=socket.gethostname(),
        clock=clock,
        python=platform.python_version(),
        versions=_versions(),
        gpus=gpus,
        gpus_used=_gpus_of_torch() if gpus else None,
        free=disk.free,
        total=disk.total,
        shared=shutil.disk_usage(SHARED).total if SHARED.exists() else None,
        knock=knock_at(*questions.door) if questions.door else "",
        sees=questions.sign.exists() if questions.sign else None,
        bucket=_bucket(*questions.bucket) if questions.bucket else "",
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _gpus() -> int:
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_LOOK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0


def _gpus_of_torch() -> int:
    """How many torch sees. Ray hides all of them from a task that has asked for none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]
    import torch

    return torch.cuda.device_count()


def _bucket(place: str, name: str) -> str:
    try:
        return "" if Place.parse(place).read(name) is not None else "what was just written is not there"
    except UserError as error:
        return error.what
