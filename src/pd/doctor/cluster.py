"""A Ray cluster: is it there, does it let us in, and what do its machines answer."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from pd.config import Settings
from pd.config.mirrored import as_written
from pd.doctor import machines
from pd.doctor.bucket import signed
from pd.doctor.certificates import certificates
from pd.doctor.door import door
from pd.doctor.finding import Finding, bounded, left_out, ok, todo
from pd.doctor.node import Node, Questions, look_here
from pd.engine.nodes import Answer, ask_every_node, gpus_of_ray, own_address
from pd.engine.ray_start import cluster_address, knock
from pd.engine.runtime import connect
from pd.engine.shared_folder import in_bucket
from pd.engine.submit import job_server
from pd.engine.waiting import give_up_after
from pd.errors import UserError
from pd.store.atomic import disk_errors

CONNECT_S, NODES_S = 180.0, 60.0
SILENCE_MINUTES = 2.0  # ours: a busy machine takes a minute to start its first worker
DEFAULT_SERVER = "http://127.0.0.1:8265"


def cluster(address: str | None, settings: Settings | None) -> list[Finding]:
    """All checks of the cluster at `address`, in RAY_ADDRESS or started here; each ends what makes no sense after it."""
    there = cluster_address(address)
    if not there:
        return [left_out("cluster", "none is named and none was started here: runs start Ray on this machine alone")]
    found = reach(there)
    if any(each.state == "todo" for each in found):
        return found
    found += bounded("cluster", lambda: join(there), CONNECT_S)
    if any(each.state == "todo" for each in found):
        return found
    return found + bounded("machines", lambda: nodes(settings), NODES_S + 30)


def reach(address: str) -> list[Finding]:
    """Whether somebody listens there, and certificates both ways."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return []  # `auto`, which Ray looks up
    host = host.strip("[]")
    try:
        knock(address)
    except OSError as error:
        fix = "check the address, `ray status` on the head, and the firewall between"
        return [todo("address", f"{address}: {error.strerror or type(error).__name__}", fix)]
    return [ok("address", f"{address} answers"), *certificates(host, int(port))]


def join(address: str) -> list[Finding]:
    """Join, as a run would: token, TLS and Ray's version are what fails here."""
    give_up_after(SILENCE_MINUTES)
    connect(address)
    return [ok("cluster", f"joined at {address} as {own_address()}")]


def nodes(settings: Settings | None, ask: Callable[..., list[Answer]] = ask_every_node) -> list[Finding]:
    """Ask each machine, and say what its answers mean."""
    with questions(settings) as asked:
        answers = ask(look_here, asked, seconds=NODES_S)
    silent = [
        todo(
            "machines",
            f"{one.name}: " + (f"cannot run pd ({one.error})" if one.error else f"no answer within {NODES_S:.0f} s"),
            "install pd's environment there and start Ray in it"
            if one.error
            else "is it busy or gone? `ray status` says; or it cannot reach this process (a firewall, a loopback address)",
        )
        for one in answers
        if one.found is None
    ]
    told = [one for one in answers if one.found is not None]
    there: list[Node] = [one.found for one in told]
    if not there:
        return silent or [todo("machines", "the cluster has none", "start Ray on one: `ray start --address=HEAD:6379`")]
    return [
        *(silent or [ok("machines", f"{len(there)} answer")]),
        *machines.versions(there, look_here(Questions())),
        *machines.clocks(there, [one.found.clock - one.at for one in told]),
        *machines.gpus(there, gpus_of_ray(), settings),
        *machines.disk_and_memory(there),
        *machines.ways(there, asked),
    ]


def server(settings: Settings) -> list[Finding]:
    """The job server at `cluster.address`, which `pd submit` needs and nothing else."""
    try:
        job_server(settings.cluster.address)
    except UserError as error:
        if settings.cluster.address == DEFAULT_SERVER and error.code != "cluster-refused":
            return [left_out("job server", f"none at {DEFAULT_SERVER}; only `pd submit` needs one")]
        raise
    return [ok("job server", f"{settings.cluster.address} answers, and takes our token")]


@contextlib.contextmanager
def questions(settings: Settings | None) -> Iterator[Questions]:
    """What each machine is asked, with what must lie ready for it as long as the context lasts."""
    with contextlib.ExitStack() as stack:
        asked = Questions(door=stack.enter_context(door(own_address())))
        if settings is None:
            yield asked
        elif in_bucket(settings.runs):
            yield Questions(asked.door, None, stack.enter_context(signed(as_written(settings.runs))))
        else:
            yield Questions(asked.door, stack.enter_context(_sign(settings.runs)), None)


@contextlib.contextmanager
def _sign(runs: Path) -> Iterator[Path]:
    sign = machines.sign_folder(runs) / f".seen-{uuid.uuid4().hex}"
    with disk_errors(sign):
        sign.touch()
    try:
        yield sign
    finally:
        sign.unlink(missing_ok=True)
