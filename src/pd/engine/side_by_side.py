"""Many pieces of work of seconds to minutes each, side by side as Ray tasks; each keeps what it has finished by itself."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import torch

from pd.engine.cpu.allocator import keeping_memory
from pd.engine.cpu.cores import interrupting
from pd.engine.machines import parts
from pd.engine.runtime import connect, unwrap
from pd.engine.stream.watch import Stranded
from pd.engine.waiting import Silence
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.store.atomic import keep_private

Where = Literal["auto", "here", "ray"]

WORTH_S = 20.0  # seconds of work in this process beyond which Ray, whose start takes some, is worth it
RETRIES = 3  # of a piece whose worker has died
POLL_S = 0.5


class Piece(Protocol):
    """A piece of work. It is pickled, and may be done again after a crash: it keeps what it has finished under a name."""

    def done(self) -> Path | None:
        """What it made, if it has finished; asked in the driver."""

    def __call__(self, progress: Progress) -> Path:
        """Do what is left of it."""


def side_by_side(
    pieces: Sequence[Piece],
    progress: Progress = silent,
    cpus: float = 1.0,
    gpus: float = 0.0,
    where: Where = "auto",
) -> list[Path]:
    """Do pieces of work, as many at once as the cluster holds; those that are done are not done again.

    Args:
        pieces: what to do; they do not depend on each other.
        progress: called as progress(pieces done, pieces, figures).
        cpus: of each; so many threads it computes with, at least one, wherever it runs.
        gpus: of each; a part of one for small ones.
        where: "here": one after another in this process; "ray": as Ray tasks; "auto": as Ray tasks if this process is in a
            cluster already, or once those done here say that the rest would take long.

    Returns:
        What each made, in their order.

    Raises:
        UserError: what the first to fail raised, when those before it are done or under way; or a piece is larger than any
            machine.
    """
    made = [piece.done() for piece in pieces]
    todo = [k for k, found in enumerate(made) if found is None]
    shown = _Shown(progress, len(pieces), len(pieces) - len(todo))
    if where == "auto" and not gpus and todo and not _connected():
        # In this process until the rest is worth a start of Ray.
        begin, number = time.monotonic(), len(todo)
        while todo and (len(todo) == 1 or not _worth(time.monotonic() - begin, number - len(todo), len(todo), cpus)):
            made[todo[0]] = _here(pieces[todo[0]], cpus, shown)
            todo = todo[1:]
    if where == "here":
        for k in todo:
            made[k] = _here(pieces[k], cpus, shown)
    elif todo:
        for k, path in _on_ray(pieces, todo, shown, cpus, gpus):
            made[k] = path
    return [path for path in made if path is not None]


def _worth(seconds: float, done: int, left: int, cpus: float) -> bool:
    from os import cpu_count

    return done > 0 and (cpu_count() or 1) >= 2 * cpus and seconds / done * left > WORTH_S


def _connected() -> bool:
    import sys

    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


class _Shown:
    """One line for all pieces: how many are done, how many are under way, and what the last one told."""

    def __init__(self, progress: Progress, total: int, done: int) -> None:
        self._progress, self.total, self.done = progress, total, done
        self.tell({})

    def tell(self, figures: Mapping[str, object]) -> None:
        self._progress(self.done, self.total, figures)

    def one_more(self, figures: Mapping[str, object]) -> None:
        self.done += 1
        self.tell(figures)


def _here(piece: Piece, cpus: float, shown: _Shown) -> Path:
    with _threads(cpus):
        path = piece(lambda done, total, info: shown.tell({"of this one": f"{done}/{total}", **info}))
    shown.one_more({})
    return path


@contextmanager
def _threads(cpus: float) -> Iterator[None]:
    """The same number of threads wherever a piece runs, for sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(cpus)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _on_worker(piece: Piece, cpus: float) -> Path:
    keep_private()
    with interrupting(), _threads(cpus):
        return piece(silent)


def _on_ray(pieces: Sequence[Piece], todo: list[int], shown: _Shown, cpus: float, gpus: float) -> Iterator[tuple[int, Path]]:
    """Yield the number of each piece, and what it made, as they are done."""
    connect()
    import ray

    _check_room(cpus, gpus)
    # A piece that asks for no GPU must not find one, and its memory is kept as that of other trainings on CPUs is.
    environment = {} if gpus else {"env_vars": {**keeping_memory(), "CUDA_VISIBLE_DEVICES": ""}}
    options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": RETRIES, "runtime_env": environment}
    work = ray.remote(_on_worker).options(**options)
    under_way = {work.remote(pieces[k], cpus): k for k in todo}
    stranded, silence = Stranded(lambda: _check_room(cpus, gpus)), Silence("a training")
    try:
        while under_way:
            ready, _ = ray.wait(list(under_way), num_returns=1, timeout=POLL_S)
            for reference in ready:
                try:
                    path = ray.get(reference)
                except Exception as error:
                    raise _explained(error) from error
                yield under_way.pop(reference), path
                shown.one_more({"left": len(under_way)})
            if not ready:
                shown.tell({"left": len(under_way)})
                stranded.look()
                silence.look()
            else:
                silence.heard()
    finally:
        for reference in under_way:
            with contextlib.suppress(Exception):  # it has just finished, or Ray is gone
                ray.cancel(reference, force=True)


def _explained(error: Exception) -> BaseException:
    from ray.exceptions import OutOfMemoryError, WorkerCrashedError

    if found := unwrap(error):
        return found
    if isinstance(error, OutOfMemoryError | WorkerCrashedError):
        return UserError(
            "workers died again and again",
            code="lost-workers",
            fix="look for a machine short of memory; the same command resumes those that are not done",
        )
    return error


def _check_room(cpus: float, gpus: float) -> None:
    """Raises UserError when no machine of the cluster has what a piece asks for."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(parts(node.get("CPU", 0.0), cpus) and (not gpus or parts(node.get("GPU", 0.0), gpus)) for node in nodes):
        asked = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
        raise UserError(
            f"no machine of the cluster has {asked}", code="no-resources", fix="ask for less, or start a larger machine"
        )
