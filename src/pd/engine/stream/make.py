"""Shards by a pool of workers, until all are there: what a crash or the death of a worker cost is made again."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pd.engine.stream.pool import lay_out, run_pool
from pd.engine.stream.shards import Shard, missing, tidy
from pd.engine.stream.work import bottleneck
from pd.errors import UserError
from pd.progress import Progress

More = Callable[[], AbstractContextManager[Mapping[str, Any]]]


@dataclass(frozen=True)
class Crew:
    """Who makes shards.

    Attributes:
        workers: how many; 0: as many as fit.
        gpus: of each.
        address: of the Ray cluster.
        section: of the settings that say so, for messages.
    """

    workers: int
    gpus: float
    address: str | None
    section: str


@contextmanager
def nothing_more() -> Iterator[Mapping[str, Any]]:
    """No further arguments."""
    yield {}


def run_shards(
    actor: type,
    arguments: Mapping[str, Any],
    shards: list[Shard],
    row_of: Callable[[Shard], Mapping[str, Any]],
    *,
    crew: Crew,
    out: Path,
    inputs: str,
    reads: tuple[Path, ...] = (),
    progress: Progress,
    more: More = nothing_more,
) -> dict[str, Any]:
    """Make the shards that are not finished, and see that they have arrived; again, as long as deaths of workers cost some.

    Args:
        actor: built in each worker with `arguments`, `out`, `inputs` and what `more` gives; called with a row, it writes a
            shard and returns what `stream.work.done_row` makes.
        arguments: what it is built with.
        shards: all of them, finished or not.
        row_of: what an actor is told of a shard.
        crew: the workers.
        out: the folder for shards.
        inputs: digest of all that rows are made from.
        reads: files and folders of the run that workers read.
        progress: called as it goes.
        more: gives further arguments, for as long as the workers are there.

    Returns:
        `total`, how many rows were `made` now, `seconds` of work by phase, and the `bottleneck` among them.

    Raises:
        UserError: workers do not fit, one raised it, or shards are missing in the end.
    """
    out = out.absolute()
    shared = {**arguments, "out": out, "inputs": inputs}
    total, todo = sum(shard.stop - shard.start for shard in shards), missing(out, shards, inputs)
    made, actors, seconds = sum(shard.stop - shard.start for shard in todo), len(todo), Counter[str]()
    while todo:
        layout = lay_out(crew.workers, crew.gpus, min(actors, len(todo)), crew.address, f"{crew.section}.workers")
        tidy(out, shards, todo)
        rows = [row_of(shard) for shard in todo]
        with more() as further:
            done = run_pool(actor, {**shared, **further}, rows, layout, reads=reads, progress=progress, total=total)
        seconds.update(done.seconds)
        left = missing(out, todo, inputs)
        if left and (not done.lost or len(left) == len(todo)):
            raise _not_made(len(left), len(todo), done.lost, out, crew.section) from done.cause
        # Nodes may have gone for good: from now on as many workers as fit, but not more than before.
        crew, actors, todo = replace(crew, workers=0), layout.actors, left
    tidy(out, shards, [])
    spent = {phase: round(value, 2) for phase, value in seconds.items()}
    return {"total": total, "made": made, "seconds": spent, **bottleneck(seconds)}


def _not_made(left: int, asked: int, lost: int, out: Path, section: str) -> UserError:
    if lost:
        return UserError(
            f"workers died or hung while they made shards; {left} of {asked} are missing",
            code="lost-workers",
            where=str(out),
            fix=f"look for a node short of memory, or storage that hangs; set {section}.workers or generate.batch lower; "
            "the same command resumes",
        )
    return UserError(
        f"{left} of {asked} shards did not arrive",
        code="lost-workers",
        where=str(out),
        fix="keep the run folder on storage that all nodes share, and run the same command again",
    )
