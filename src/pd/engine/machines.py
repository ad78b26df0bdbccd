"""Machines that an autoscaler is to start: asked for, waited for, and let go again."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from pd.config import ClusterSettings, ModelSettings
from pd.progress import Progress

LOOK_S = 2.0


@contextmanager
def machines(cluster: ClusterSettings, workers: int, gpus: float, progress: Progress, cpus: float = 1.0) -> Iterator[None]:
    """Keep room for so many workers in the cluster for as long as the context lasts; does nothing without `wait_minutes`.

    An autoscaler starts machines for what is asked for, and takes them away again when nobody does. When time is up
    without them, whoever lays out the workers says what is missing.

    Args:
        cluster: how long to wait.
        workers: how many; at least one is asked for.
        gpus: of each.
        progress: called while it waits.
        cpus: of each.
    """
    if not cluster.wait_minutes:
        yield
        return
    import ray
    from ray.autoscaler.sdk import request_resources

    workers = max(workers, 1)
    request_resources(bundles=[{"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}] * workers)
    try:
        end = time.monotonic() + 60 * cluster.wait_minutes
        while (found := room(_resources(ray.nodes()), gpus, cpus)) < workers and time.monotonic() < end:
            progress(found, workers, {"waiting for": "machines"})
            time.sleep(LOOK_S)
        yield
    finally:
        request_resources(bundles=[])


def machines_for(cluster: ClusterSettings, model: ModelSettings, progress: Progress) -> AbstractContextManager[None]:
    """The same for the workers of a training; nothing where it runs in this process."""
    if not model.max_workers:
        return nullcontext()
    return machines(cluster, model.min_workers, model.gpus_per_worker, progress, model.cpus_per_worker or 1.0)


def room(nodes: Sequence[Mapping[str, float]], gpus: float, cpus: float = 1.0) -> int:
    """How many workers fit, of so many GPUs and CPUs; a worker lies on one machine."""
    held = [(parts(node.get("CPU", 0.0), cpus), node.get("GPU", 0.0)) for node in nodes]
    return sum(min(fit, parts(gpu, gpus)) if gpus else fit for fit, gpu in held)


def parts(held: float, each: float) -> int:
    """How many parts of size `each` a machine holds. Twenty of 0.1 make 2, though 2 // 0.1 is 19."""
    return int(held / each + 1e-9)


def _resources(nodes: Sequence[Mapping[str, object]]) -> list[Mapping[str, float]]:
    return [dict(node["Resources"]) for node in nodes if node["Alive"]]  # type: ignore[call-overload]
