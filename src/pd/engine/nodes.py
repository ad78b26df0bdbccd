"""The same question to each machine of the cluster that was joined."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What came from one machine.

    Attributes:
        name: of the machine, as Ray has it.
        found: what the function returned; None where nothing came.
        error: kind of the error there; empty where there was none.
        at: seconds since 1970 by this machine's clock, between question and answer.
    """

    name: str
    found: Any
    error: str
    at: float


def ask_every_node(ask: Callable[..., Any], *words: Any, seconds: float) -> list[Answer]:
    """Call a function of `pd` on each living machine, at no cost of its CPUs, and wait for no longer than so many seconds."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [
        (node["NodeID"], node.get("NodeManagerHostname") or node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]
    ]
    call = ray.remote(num_cpus=0, max_retries=0)(ask)
    asked_at = time.time()
    asked = [
        call.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(*words) for node, _ in nodes
    ]
    here: dict[Any, tuple[Any, str, float]] = {}
    waiting, end = list(asked), time.monotonic() + seconds
    while waiting and (left := end - time.monotonic()) > 0:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=left)
        now = time.time()
        for one in done:
            try:
                here[one] = ray.get(one), "", (asked_at + now) / 2
            except RayError as error:
                here[one] = None, type(getattr(error, "cause", None) or error).__name__, now
    for one in waiting:
        ray.cancel(one, force=True)
    return [Answer(name, *here.get(one, (None, "", 0.0))) for one, (_, name) in zip(asked, nodes, strict=True)]


def gpus_of_ray() -> float:
    """How many GPUs the cluster hands out."""
    import ray

    return sum(float(node["Resources"].get("GPU", 0.0)) for node in ray.nodes() if node["Alive"])


def own_address() -> str:
    """This process's address, as the cluster's machines have it."""
    import ray

    return str(ray.util.get_node_ip_address())
