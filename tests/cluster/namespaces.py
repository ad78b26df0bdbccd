"""Machines with addresses, names, /etc/hosts, /tmp/ray and /dev/shm of their own, on one: Linux namespaces joined by a bridge.

Each is a process that sleeps in namespaces of its own (network, host name, mounts); the bridge is in another's. All of it is
gone when these processes are: nothing of the real machine's network is touched, and nothing has a name that others could meet.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

NETWORK = f"10.77.{os.getpid() % 250}"  # `ray start` looks at all processes that it sees for a head of its own address
WIRE = Path(__file__).with_name("bad_wire.py")
NEEDS = ("unshare", "nsenter", "ip", "tc")


def why_not() -> str:
    """Why no namespaces can be made here; empty: they can."""
    if missing := [name for name in NEEDS if shutil.which(name) is None]:
        return f"no {', '.join(missing)} (apt-get install util-linux iproute2)"
    if os.geteuid() != 0:
        return "not root"
    tried = subprocess.run(["unshare", "--net", "--uts", "--mount", "ip", "link", "add", "b0", "type", "bridge"], check=False)
    return "" if tried.returncode == 0 else "this kernel, or container, lets nobody make namespaces"


@dataclass
class Machine:
    """One of them.

    Attributes:
        name: its host name.
        address: its IPv4 address.
        folder: on the real disk; what it mounts lies here.
        pid: of the process that keeps its namespaces.
        switch: of the bridge's.
        wire: what passes its frames on where the wire is a bad one.
    """

    name: str
    address: str
    folder: Path
    pid: int
    switch: int
    started: list["subprocess.Popen[str]"] = field(default_factory=list)
    wire: "subprocess.Popen[bytes] | None" = None

    def words(self, *words: object) -> list[str]:
        """The command that runs a command there."""
        return ["nsenter", f"--target={self.pid}", "--net", "--uts", "--mount", f"--wd={os.getcwd()}", *map(str, words)]

    def run(
        self, *words: object, env: Mapping[str, str] | None = None, timeout: float = 600, check: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command there to its end."""
        command = self.words(*words)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=check, env=env)

    def start(
        self, *words: object, env: Mapping[str, str] | None = None, log: "IO[str] | int" = subprocess.DEVNULL
    ) -> "subprocess.Popen[str]":
        """Start a command there; it is killed with the machine, if not before."""
        process = subprocess.Popen(self.words(*words), stdout=log, stderr=log, env=env, text=True, start_new_session=True)
        self.started.append(process)
        return process

    def link(self, up: bool) -> None:
        """Plug its cable in, or pull it out: of the bridge's end, so that the machine notices nothing but silence."""
        _inside(self.switch, "ip", "link", "set", f"to-{self.name}", "up" if up else "down")

    def limit(self, rate: str | None) -> None:
        """Let no more than `rate` (as tc writes it: 10mbit) through in each direction; None: as much as there is."""
        for pid, device in ((self.pid, "eth0"), (self.switch, f"to-{self.name}")):
            _inside(pid, "tc", "qdisc", "del", "dev", device, "root", check=False)
            if rate:
                _inside(
                    pid, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", rate, "burst", "64kb", "latency", "400ms"
                )

    def bad_wire(self, seconds: float, loss: float) -> None:
        """From now on frames take so long in each direction, and this share of them is lost."""
        ends = f"near-{self.name}", f"far-{self.name}"
        _inside(self.switch, "ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for pid, device in ((self.pid, "eth0"), (self.switch, ends[0])):
            _inside(pid, sys.executable, WIRE, device)
        _inside(self.switch, "ip", "link", "set", f"to-{self.name}", "nomaster")
        _inside(self.switch, "ip", "link", "set", ends[0], "master", "br0", "up")
        _inside(self.switch, "ip", "link", "set", ends[1], "up")
        words = [f"--target={self.switch}", "--net", sys.executable, str(WIRE), f"to-{self.name}", ends[1]]
        self.wire = subprocess.Popen(["nsenter", *words, str(seconds), str(loss)])

    def kill(self) -> None:
        """End all that runs there, at once; the namespaces stay, until the whole is taken down."""
        for pid in _members(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def machines(*names: str, own_name_is_loopback: bool = True) -> Iterator[list[Machine]]:
    """Make so many machines on one network.

    Args:
        names: their host names.
        own_name_is_loopback: /etc/hosts leads a machine's own name to 127.0.1.1, as Debian's installer writes it.
    """
    folder = Path(tempfile.mkdtemp(prefix="pdn"))  # short: Ray's sockets lie in it
    shared = Path("/tmp/ray")
    shared.mkdir(exist_ok=True)  # where each machine mounts its own
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        switch = _keeper(stack)
        for words in (["lo", "up"], ["br0", "type", "bridge"]):
            _inside(switch, "ip", "link", "add" if "type" in words else "set", *words)
        _inside(switch, "ip", "addr", "add", f"{NETWORK}.1/24", "dev", "br0")
        _inside(switch, "ip", "link", "set", "br0", "up")
        made = []
        for number, name in enumerate(names):
            pid, home = _keeper(stack), folder / name
            address = f"{NETWORK}.{11 + number}"
            machine = Machine(name, address, home, pid, switch)
            made.append(machine)
            others = [f"{NETWORK}.{11 + at} {other}" for at, other in enumerate(names) if other != name]
            own = "127.0.1.1" if own_name_is_loopback else address
            (home / "ray").mkdir(parents=True)
            (home / "hosts").write_text("\n".join(["127.0.0.1 localhost", f"{own} {name}", *others, ""]))
            _inside(switch, "ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", pid)
            _inside(switch, "ip", "link", "set", f"to-{name}", "master", "br0", "up")
            for words in (
                ["ip", "link", "set", "lo", "up"],
                ["ip", "addr", "add", f"{address}/24", "dev", "eth0"],
                ["ip", "link", "set", "eth0", "up"],
                ["ip", "route", "add", "default", "via", f"{NETWORK}.1"],
                ["hostname", name],
                ["mount", "--bind", home / "hosts", "/etc/hosts"],
                ["mount", "--bind", home / "ray", "/tmp/ray"],
                ["mount", "-t", "tmpfs", "-o", "size=1g,mode=1777", "none", "/dev/shm"],
            ):
                _inside(pid, *words)
        try:
            yield made
        finally:
            for machine in made:
                machine.kill()
                if machine.wire:
                    machine.wire.kill()
                    machine.wire.wait(10)
                for process in machine.started:
                    process.wait(10)


def _keeper(stack: ExitStack) -> int:
    """A process that keeps namespaces alive, until the stack is unwound."""
    process = subprocess.Popen(["unshare", "--net", "--uts", "--mount", "sleep", "infinity"])
    stack.callback(lambda: (process.kill(), process.wait()))
    end = time.monotonic() + 10
    while os.readlink(f"/proc/{process.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt") or not _sleeps(process.pid):
        assert time.monotonic() < end
        time.sleep(0.02)
    return process.pid


def _sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == "sleep"


def _inside(pid: int, *words: object, check: bool = True) -> None:
    command = ["nsenter", f"--target={pid}", "--net", "--uts", "--mount", *map(str, words)]
    subprocess.run(command, check=check, stderr=None if check else subprocess.DEVNULL)


def _members(keeper: int) -> list[int]:
    """Processes in a keeper's network, but for itself."""
    found, own = [], os.readlink(f"/proc/{keeper}/ns/net")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != keeper:
            with suppress(OSError):
                if os.readlink(entry / "ns" / "net") == own:
                    found.append(int(entry.name))
    return found
