"""How all machines of a cluster see a folder: by a mount, or in a bucket; what a worker writes elsewhere never arrives."""

import uuid
from pathlib import Path
from typing import Any

from pd.errors import UserError
from pd.store.atomic import disk_errors
from pd.store.mirror import place_of
from pd.store.s3 import s3_filesystem

PATIENCE = 60.0  # seconds for a node to answer; one that does not may be going, and proves nothing


RUNS = "set `runs` to a folder on storage that all of them mount at the same path (in a job, PD_HOME may name it)"


def in_bucket(folder: Path) -> bool:
    """Whether a folder is the mirror of a bucket's: then no file of one machine is another's."""
    return place_of(folder) is not None


def storage(folder: Path) -> dict[str, Any]:
    """Where Ray Train keeps what it keeps of a training in this folder; arguments of its RunConfig."""
    if (found := place_of(folder.parent)) is None:
        return {"storage_path": str(folder.parent)}
    place, name = found
    return {"storage_path": f"{place.path}/{name}", "storage_filesystem": s3_filesystem(place.path.partition("/")[0])}


def check_shared(folder: Path, fix: str = RUNS) -> None:
    """Let every living node look for a file that is put into the folder now.

    On a single machine there is nothing to ask, nor of a bucket, from which every node fetches for itself.

    Args:
        folder: made where it is not there.
        fix: what to do where a node does not see it.

    Raises:
        UserError: a node does not see it.
    """
    if in_bucket(folder):
        return
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1:
        return
    sign = folder / f".seen-{uuid.uuid4().hex}"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sign.touch()
    try:
        look = ray.remote(num_cpus=0, max_retries=0)(_sees)
        asked = [
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(sign) for node in nodes
        ]
        answers, _ = ray.wait(asked, num_returns=len(asked), timeout=PATIENCE)
        blind = 0
        for answer in answers:
            try:
                blind += not ray.get(answer)
            except RayError:  # the node went while it was asked
                continue
    finally:
        sign.unlink()
    if blind:
        raise UserError(
            f"{blind} of the cluster's {len(nodes)} machines do not see this folder",
            code="no-resources",
            where=str(folder),
            fix=fix,
        )


def _sees(sign: Path) -> bool:
    return sign.exists()
