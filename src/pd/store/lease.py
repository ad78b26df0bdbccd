"""One `pd` a run, in a bucket too: a lease, which is an object that its holder renews for as long as it lives."""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pd.errors import UserError
from pd.store.atomic import write_bytes
from pd.store.mirror import place_of

if TYPE_CHECKING:
    from pd.store.places import Place

LEASES = ".leases"
LIFE_S = 60.0  # since it was renewed, by the server's clock; then its holder counts as dead
RENEW_S = 10.0


@contextlib.contextmanager
def lease(root: Path) -> Iterator[Callable[[], None]]:
    """Keep every other machine's `pd` out of a run in a bucket; on a disk nothing is done.

    Whoever comes puts an object of its own and then looks at all: lists are consistent, so of two that come at once at least
    one sees the other, and neither goes on that sees one. A machine's lease has the same name each time, because a lock of the
    file system (the caller's) keeps a second `pd` out there: what a killed one left is in nobody's way on its own machine.

    Yields:
        what raises UserError when the lease was lost meanwhile; to be asked before anything is committed.

    Raises:
        UserError: another machine holds one.
    """
    found = place_of(root)
    if found is None:
        yield lambda: None
        return
    place, own = found[0], f"{LEASES}/{_machine(root)}"
    place.write(own, b"")
    try:
        others = _others(place, own)
        if others is None or others:
            raise UserError(
                "another pd is working in this run, or was killed a moment ago",
                code="busy",
                where=str(place),
                fix=f"wait for it, or stop it; {LIFE_S:.0f} seconds after its end the same command resumes",
            )
        over, stolen, renewed = threading.Event(), threading.Event(), [time.monotonic()]
        thread = threading.Thread(target=_renew, args=(place, own, over, stolen, renewed), name="lease", daemon=True)
        thread.start()

        def check() -> None:
            if stolen.is_set() or time.monotonic() - renewed[0] > LIFE_S:
                raise UserError(
                    f"the bucket could not be reached for {LIFE_S:.0f} seconds, and another pd may be working in this run now",
                    code="busy",
                    where=str(place),
                    fix="run the same command again: what is finished is kept",
                )

        try:
            yield check
        finally:
            over.set()
            thread.join()
    finally:
        with contextlib.suppress(UserError):  # it ends by itself; what went wrong before matters more
            place.delete(own)


def _others(place: "Place", own: str) -> list[str] | None:
    """Leases of others that are alive; None where one's own is gone."""
    held = {file.name: file.changed for file in place.objects(LEASES)}
    if own not in held:
        return None
    return [name for name, renewed in held.items() if name != own and renewed > held[own] - LIFE_S * 1e9]


def _renew(place: "Place", own: str, over: threading.Event, stolen: threading.Event, renewed: list[float]) -> None:
    """Put the object again and again; a failure is made good by the next time, if that comes soon enough."""
    while not over.wait(RENEW_S):
        begin = time.monotonic()
        with contextlib.suppress(UserError):
            place.write(own, b"")
            if _others(place, own):
                stolen.set()
            renewed[0] = begin


def _machine(root: Path) -> str:
    """A name that this machine's mirror of the run keeps."""
    file = root / "work" / ".lease"
    if not file.exists():
        write_bytes(file, uuid.uuid4().hex.encode())
    return file.read_text(encoding="ascii")
