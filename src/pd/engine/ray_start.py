"""What is peculiar to starting Ray: where one is already, who may reach ours, and what it must not take from this process."""

import atexit
import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pd.errors import UserError

STORE_BYTES = 2**30  # object store of a cluster that we start: blocks of compressed images pass through it, no tensors
SMALL_STORE_BYTES = 2**28  # ... when /dev/shm is smaller than even this, Ray keeps the store in a file under /tmp
KNOCK_S = 10.0  # for a cluster's head to let itself be connected to


def started_here() -> str | None:
    """Address of the cluster that `ray start` last started on this machine, if it is still there."""
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    with contextlib.suppress(OSError):
        address = Path(temporary, "ray", "ray_current_cluster").read_text(encoding="utf-8").strip()
        knock(address)
        return address or None
    return None


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
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it may be gone
            if child.name() == "raylet":
                child.suspend()
                for started in child.children(recursive=True):
                    started.kill()


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
