"""How many actors, and what each holds; a layout that would hang is refused before it starts.

Actors that hold every CPU hang a Ray Data pipeline without a word (ray#44687), so a slot stays free for Ray's own
tasks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pd.engine.machines import parts
from pd.errors import UserError

ACTOR_CPUS = 0.8  # an actor computes on one thread; the rest of its CPU is what Ray Data's own tasks may hold
SHARED_CPUS = 0.4  # what each holds when more are asked for than there are CPUs: they take turns
SLOT = 0.2


@dataclass(frozen=True)
class Layout:
    """Actors, and what each of them holds."""

    actors: int
    cpus: float
    gpus: float


def plan_layout(
    nodes: Sequence[Mapping[str, float]], workers: int, gpus_per_worker: float, shards: int, key: str = "generate.workers"
) -> Layout:
    """Lay out the actor pool.

    Args:
        nodes: resources of each living node, `CPU` and `GPU`; an actor has to fit into one of them.
        workers: actors wanted; 0: as many as fit.
        gpus_per_worker: GPUs of each.
        shards: there is no work for more actors than shards.
        key: the setting that asked for workers, for messages.

    Raises:
        UserError: the actors wanted do not fit; the numbers are in the message.
    """
    alone, sharing = (sum(_fits(node, gpus_per_worker, by_cpu(node)) for node in nodes) for by_cpu in (_alone, _sharing))
    idle = gpus_per_worker > 0 and not workers and sharing > alone  # GPUs would be, on machines with few CPUs
    each, fits = (SHARED_CPUS, sharing) if workers > alone or idle else (ACTOR_CPUS, alone)
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    wanted = workers or max(fits, 1)
    if wanted > fits:
        need = f"{wanted} actors of {each:g} CPU and {gpus_per_worker:g} GPU"
        raise UserError(
            f"{need}, with {SLOT:g} CPU free for Ray Data, would wait for ever: the cluster's {len(nodes)} nodes have "
            f"{cpus:g} CPU and {gpus:g} GPU, room for {fits}",
            code="no-resources",
            where=f"{key} = {workers}",
            fix=f"set it to {fits}, or to 0 for as many as fit" if fits else "give the cluster CPUs (and the GPUs asked for)",
        )
    return Layout(min(wanted, max(shards, 1)), each, gpus_per_worker)


def _alone(node: Mapping[str, float]) -> int:
    """Actors that have a CPU of the node to themselves; what they do not hold of the first one is the slot."""
    return math.floor(node.get("CPU", 0.0))


def _sharing(node: Mapping[str, float]) -> int:
    """Actors that take turns on the node's CPUs, beside the slot."""
    return parts(node.get("CPU", 0.0) - SLOT, SHARED_CPUS)


def _fits(node: Mapping[str, float], gpus_per_worker: float, by_cpu: int) -> int:
    """Actors that fit on a node: as many as its CPUs and its GPUs allow."""
    by_gpu = parts(node.get("GPU", 0.0), gpus_per_worker) if gpus_per_worker else by_cpu
    return max(min(by_cpu, by_gpu), 0)
