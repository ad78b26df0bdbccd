"""Shards over a pool of actors, by Ray Data: it spreads them and replaces actors that die."""

import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pd.config import GenerateSettings
from pd.engine.runtime import connect
from pd.engine.stream_layout import Layout, plan_layout
from pd.errors import UserError
from pd.progress import Progress


class _Worker:
    """Builds the actor on its first row, and hands a UserError over as a result.

    An error raised in here would arrive as text alone: Ray Data wraps it in one whose cause does not survive pickling.
    """

    def __init__(self, actor: type, arguments: dict[str, Any]) -> None:
        self._actor, self._arguments = actor, arguments
        self._built: Any = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            self._built = self._built or self._actor(**self._arguments)
            return {**self._built(row), "error": ""}
        except UserError as error:
            return {"rows": 0, "seconds": "{}", "reasons": "{}", "error": json.dumps([error.what, error.where, error.fix])}


def lay_out(settings: GenerateSettings, shards: int, address: str | None) -> Layout:
    """Join the cluster and lay out the pool; raises UserError when it would not fit, before anything is touched."""
    connect(address)
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return plan_layout(nodes, settings.workers, settings.gpus_per_worker, shards)


def run_pool(
    actor: type,
    arguments: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    layout: Layout,
    *,
    progress: Progress,
    total: int,
) -> dict[str, float]:
    """Hand each row (a shard) to some actor.

    Args:
        actor: built once in each worker; called with a row, it returns what `stream_work.done_row` makes.
        arguments: what it is built with.
        rows: the shards to make, small: pixels do not belong here.
        layout: how many actors, and what each holds.
        progress: called after each shard.
        total: images in all; those outside `rows` are done already.

    Returns:
        Seconds by phase, summed over the workers.

    Raises:
        UserError: what an actor raised.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised; in a log they may quote data
    DataContext.get_current().enable_progress_bars = False
    results = ray.data.from_items([dict(row) for row in rows], override_num_blocks=len(rows)).map(
        _Worker,
        compute=ActorPoolStrategy(size=layout.actors),
        fn_constructor_kwargs={"actor": actor, "arguments": dict(arguments)},
        num_cpus=layout.cpus,
        num_gpus=layout.gpus or None,
    )
    seconds: dict[str, float] = defaultdict(float)
    reasons: Counter[str] = Counter()
    begin, made, before = time.monotonic(), 0, total - sum(row["stop"] - row["start"] for row in rows)
    progress(before, total, {"workers": layout.actors})
    for result in results.iter_rows():
        if result["error"]:
            what, where, fix = json.loads(result["error"])
            raise UserError(what, where=where, fix=fix)
        made += result["rows"]
        for phase, spent in json.loads(result["seconds"]).items():
            seconds[phase] += spent
        reasons.update(json.loads(result["reasons"]))
        speed = made / (time.monotonic() - begin)
        progress(before + made, total, {"workers": layout.actors, "images/s": speed, **_shares(reasons)})
    return seconds


def _shares(reasons: Counter[str]) -> dict[str, str]:
    """The share that would be kept, and the two most frequent reasons why others would not."""
    everything = reasons.total()
    if not everything:
        return {}
    dropped = [(reason, count) for reason, count in reasons.most_common() if reason][:2]
    return {name or "kept": f"{count / everything:.0%}" for name, count in [("", reasons[""]), *dropped]}
