"""Whether all machines of a cluster see a folder: what a worker writes elsewhere never arrives."""

import uuid
from pathlib import Path

from pd.errors import UserError
from pd.store.atomic import disk_errors

PATIENCE = 60.0  # seconds for a node to answer; one that does not may be going, and proves nothing


RUNS = "set `runs` to a folder on storage that all of them mount at the same path (in a job, PD_HOME may name it)"


def check_shared(folder: Path, fix: str = RUNS) -> None:
    """Let every living node look for a file that is put into the folder now. On a single machine there is nothing to ask.

    Args:
        folder: made where it is not there.
        fix: what to do where a node does not see it.

    Raises:
        UserError: a node does not see it.
    """
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
            where=str(folder),
            fix=fix,
        )


def _sees(sign: Path) -> bool:
    return sign.exists()
