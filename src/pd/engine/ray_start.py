"""What is peculiar to starting Ray: where one is already, who may reach ours, and what it must not take from this process."""

import atexit
import contextlib
import errno
import os
import secrets
import shutil
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pd.errors import UserError
from pd.store.scratch import make_scratch

STORE_BYTES = 2**30  # object store of a cluster that we start: blocks of compressed images pass through it, no tensors
SMALL_STORE_BYTES = 2**28  # ... when /dev/shm is smaller than even this, Ray keeps the store in a file under /tmp
KNOCK_S = 10.0  # for a cluster's head to let itself be connected to
_TRIES, _PAUSE_S = 5, 0.05
_LONGEST = 38  # bytes of the folder's path: Ray's sockets lie 66 deeper, and the system takes 103
_OWN: list[Path] = []  # folders of the Ray that this process has started, if it has; the last is in use


def started_here() -> str | None:
    """Address of the cluster that `ray start` last started on this machine, if it is still there."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        address = _own_text(_temporary() / "ray" / "ray_current_cluster").strip()
        knock(address)
        return address or None
    return None


def cluster_address(address: str | None) -> str | None:
    """The cluster to join: at `address`, or in RAY_ADDRESS, or started by `ray start` here; None: there is none."""
    return address or os.environ.get("RAY_ADDRESS") or started_here()


def own_folder() -> Path:
    """Where a Ray of our own keeps its sessions: nobody else gets there, and it is gone when the process ends.

    Ray lets everybody write to this folder and what is in it, whatever the umask: who may enter could plant sockets and code.
    So it lies in one that Ray does not know.
    """
    if not _OWN or not _OWN[-1].exists():  # Ray would make it anew, for everybody
        # Held until the process is gone: Ray may still be at it when everything else has ended.
        _OWN.append(make_scratch("pd-ray-", _temporary())[0])
        if len(os.fsencode(_OWN[-1])) > _LONGEST:
            there = _OWN[-1] / "r"
            there.mkdir()
            _OWN.append(make_scratch("pd-ray-", Path("/tmp"))[0])
            (_OWN[-1] / "r").symlink_to(there)
        atexit.register(_end_own)
    return _OWN[-1] / "r"


def _end_own() -> None:
    """Take our Ray down, and its folder away; where the process is left in a hurry, `leave_ray` does it otherwise."""
    sys.modules["ray"].shutdown()
    _remove_own()


def _remove_own() -> None:
    for folder in _OWN:
        for _ in range(_TRIES):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(_PAUSE_S)  # a process that is about to go has just written something


def _own_text(path: Path) -> str:
    """The text of a file that this user wrote; OSError otherwise: everybody may write into the folder where Ray has it."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "not this user's", str(path))
        return file.read()


def _temporary() -> Path:
    """The folder in which Ray has its own."""
    of_linux = os.environ.get("TMPDIR") if sys.platform.startswith("linux") else None
    return Path(os.environ.get("RAY_TMPDIR") or of_linux or "/tmp")


def knock(address: str | None) -> None:
    """Raise OSError when nobody listens at `host:port`: Ray would ask for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S):
            pass


def check_tls() -> None:
    """Refuse TLS without the files that it needs: Ray would wait for half a minute, and not say for what.

    Raises:
        UserError: one of the three is not named, or not there.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return
    for name in ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"):
        if not Path(os.environ.get(name, "")).is_file():
            raise UserError(
                "RAY_USE_TLS asks for TLS, and this names no file",
                code="no-such-file",
                where=name,
                fix="cluster/node-cert.sh makes what is needed; or unset RAY_USE_TLS",
            )


def shut_in() -> None:
    """Let a Ray of our own be reached by nobody else: by default its ports are open to the network, and run any code.

    It listens on loopback alone, and wants a token that this process and its children know. Ray reads both when it is
    imported, so in a process that has done so already (a test's) nothing is changed.
    """
    if "ray" in sys.modules:
        return
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # so Ray calls the switch: no cluster, no address
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextlib.contextmanager
def our_sigterm() -> Iterator[None]:
    """Let SIGTERM do afterwards what it did before: Ray takes it for itself, and its core once more, with an abort."""
    if threading.current_thread() is not threading.main_thread():  # only there can it be set
        yield
        return
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if ours is None else ours)


@contextlib.contextmanager
def our_exit() -> Iterator[None]:
    """Keep a node that Ray starts from being killed first when the process ends; everybody else may still register.

    What Ray registers at its import, `ray.shutdown`, disconnects before it kills: who is left by a raylet exits with 1.
    """
    register = atexit.register

    def unless_ray(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        ray = str(getattr(function, "__module__", "")).startswith("ray.")
        return function if ray else register(function, *args, **kwargs)

    atexit.register = unless_ray  # type: ignore[assignment]
    try:
        yield
    finally:
        atexit.register = register


def leave_ray() -> None:
    """Let go of Ray in a process that ends now, by `os._exit`.

    Nothing is taken down in order: a thread that waits in Ray's core ends the process, with a code of its own, as soon as that
    core or the raylet goes. So the raylet is only held still and what it started is killed. It dies with this process itself,
    as Ray has told the kernel. In a cluster that was joined nothing is ours; its head sees that we are gone.
    """
    if "ray" not in sys.modules:
        return
    import psutil

    atexit.unregister(sys.modules["ray"].shutdown)
    atexit.unregister(_end_own)
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it may be gone
            if child.name() == "raylet":
                child.suspend()
                for started in child.children(recursive=True):
                    started.kill()
    _remove_own()


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Close the terminal to what is not Python: Ray's C++ core announces the log level that we have just set."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def store_bytes() -> int:
    """Bytes for the object store of a Ray that we start."""
    if not sys.platform.startswith("linux"):
        return STORE_BYTES
    shared = os.statvfs("/dev/shm")
    return min(STORE_BYTES, max(SMALL_STORE_BYTES, int(shared.f_bavail * shared.f_frsize * 0.8)))
