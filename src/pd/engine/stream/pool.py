"""Shards over a pool of actors, by Ray Data: it spreads them, and starts actors that die again."""

import json
import logging
import threading
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pd.engine.runtime import connect
from pd.engine.stream.layout import Layout, plan_layout
from pd.engine.stream.metrics import Meters
from pd.engine.stream.watch import Hung, silence_allowed, watched
from pd.engine.stream.work import bottleneck
from pd.errors import UserError
from pd.events import event
from pd.progress import Progress
from pd.store.atomic import keep_private
from pd.store.kept import at_hand

# Blocks of rows that Ray Data is given; each costs the driver memory and milliseconds. Fewer shards than this: one a block.
BLOCKS = 4096
BLOCKS_PER_ACTOR = 16  # ... and with very many actors enough for each, so that a slow one leaves its share to the others


@dataclass(frozen=True)
class Outcome:
    """What a pool did.

    Attributes:
        seconds: of work by phase, summed over the workers.
        lost: rows of which nothing was heard, because the actor that held them died, or hung.
        cause: why Ray gave up, if it did.
    """

    seconds: Mapping[str, float]
    lost: int
    cause: Exception | None


class _Worker:
    """Builds the actor on its first row, and hands errors over as results.

    An error raised in here would arrive as text alone (Ray Data wraps it in one whose cause does not survive pickling),
    and would pass for the death of an actor.
    """

    def __init__(self, actor: type, arguments: dict[str, Any], reads: tuple[Path, ...]) -> None:
        keep_private()
        self._actor, self._arguments, self._reads = actor, arguments, reads
        self._built: Any = None
        self._meters = Meters()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        nothing = {"index": -1, "rows": 0, "bytes": 0, "seconds": "{}", "reasons": "{}", "error": "", "crash": ""}
        try:
            self._built = self._built or built(self._actor, self._arguments, self._reads)
            done = self._built(row)
        except UserError as error:
            return {**nothing, "error": json.dumps([error.what, error.code, error.where, error.fix])}
        except Exception:
            return {**nothing, "crash": traceback.format_exc()}
        self._meters.add(done)
        return {**nothing, **done}


def built(actor: Callable[..., Any], arguments: Mapping[str, Any], reads: Iterable[Path]) -> Any:
    """The actor, once what it reads is on this machine."""
    for path in reads:
        at_hand(path)
    return actor(**arguments)


def lay_out(workers: int, gpus: float, shards: int, address: str | None, key: str) -> Layout:
    """Join the cluster and lay out the pool; raises UserError when it would not fit, before anything is touched."""
    connect(address)
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return plan_layout(nodes, workers, gpus, shards, key)


def run_pool(
    actor: type,
    arguments: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    layout: Layout,
    *,
    reads: tuple[Path, ...] = (),
    progress: Progress,
    total: int,
) -> Outcome:
    """Hand each row (a shard) to some actor.

    An actor that dies is started again, where there is room, and continues with other rows; the one or two that it held
    are lost and the caller's to hand in again. (Ray would keep them for that very actor, and if no node has room for it
    any more, wait for ever.) When a worker hangs, all end, and what is not finished is lost likewise.

    Args:
        actor: built once in each worker; called with a row, it returns what `stream.work.done_row` makes.
        arguments: what it is built with.
        rows: the shards to make, small: pixels do not belong here.
        layout: how many actors, and what each holds.
        reads: files and folders of the run that are brought to a worker before its actor is built.
        progress: called after each shard.
        total: images in all; those outside `rows` are done already.

    Raises:
        UserError: what an actor raised; or there is no node left for any actor.
        RuntimeError: an actor ran into an error of ours; its text is the traceback.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.exceptions import RayError
    from ray.util.annotations import RayDeprecationWarning

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised; in a log they may quote data
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # the death of an actor ends its rows, not the run
    blocks = min(len(rows), max(BLOCKS, BLOCKS_PER_ACTOR * layout.actors))
    shards = ray.data.from_items([dict(row) for row in rows], override_num_blocks=blocks)
    with warnings.catch_warnings():
        # Until Ray 2.64 there is no other way to tell it what to do when an actor dies: start another, fail what it held.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        results = shards.map(
            _Worker,
            compute=ActorPoolStrategy(size=layout.actors),
            fn_constructor_kwargs={
                "actor": actor,
                "arguments": dict(arguments),
                "reads": tuple(path.absolute() for path in reads),
            },
            num_cpus=layout.cpus,
            num_gpus=layout.gpus or None,
            max_restarts=-1,
            max_task_retries=0,
        )
    seconds: dict[str, float] = defaultdict(float)
    reasons: Counter[str] = Counter()
    slowest = [0.0]  # seconds of a shard; read by another function meanwhile
    begin, made, heard, before = time.monotonic(), 0, 0, total - sum(row["stop"] - row["start"] for row in rows)
    progress(before, total, {"workers": layout.actors})
    try:
        for result in watched(results.iter_rows(), lambda: _room(layout), lambda: silence_allowed(slowest[0])):
            _raise(result)
            heard, made = heard + 1, made + result["rows"]
            phases = json.loads(result["seconds"])
            event("shard", shard=result["index"], rows=result["rows"], bytes=result["bytes"], **_named(phases))
            slowest[0] = max(slowest[0], sum(phases.values()))
            for phase, spent in phases.items():
                seconds[phase] += spent
            reasons.update(json.loads(result["reasons"]))
            info = {"workers": layout.actors, "images/s": made / (time.monotonic() - begin)}
            progress(before + made, total, {**info, **bottleneck(seconds), **_shares(reasons)})
    except (RayError, Hung) as error:
        return Outcome(seconds, len(rows) - heard, error)
    finally:
        _stop()
    return Outcome(seconds, len(rows) - heard, None)


def _stop() -> None:
    """End what Ray Data still does: actors that wait for a node would go on when it comes, beside the next pool's.

    Its executor is a thread of this process; before its first result Ray has no other handle on it.
    """
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor):
            thread.shutdown(force=True)


def _room(layout: Layout) -> None:
    """Raise UserError when no living node could hold one of the actors."""
    import ray

    plan_layout([node["Resources"] for node in ray.nodes() if node["Alive"]], 0, layout.gpus, 1)


def _raise(result: Mapping[str, Any]) -> None:
    """Raise the error that a worker handed over, if it did."""
    if result["error"]:
        what, code, where, fix = json.loads(result["error"])
        raise UserError(what, code=code, where=where, fix=fix)
    if result["crash"]:
        raise RuntimeError(f"a worker failed:\n{result['crash']}")


def _named(seconds: Mapping[str, float]) -> dict[str, float]:
    return {f"{phase}_seconds": spent for phase, spent in seconds.items()}


def _shares(reasons: Counter[str]) -> dict[str, str]:
    """The share that would be kept, and the two most frequent reasons why others would not."""
    everything = reasons.total()
    if not everything:
        return {}
    dropped = [(reason, count) for reason, count in reasons.most_common() if reason][:2]
    return {name or "kept": f"{count / everything:.0%}" for name, count in [("", reasons[""]), *dropped]}
