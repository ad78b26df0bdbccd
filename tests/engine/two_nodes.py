"""A cluster of several raylets on this machine, for tests in which one goes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray
from ray.cluster_utils import Cluster

STORE = 2**27  # bytes of each node's object store


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """A head without CPUs and two nodes that have room for one actor or worker each; this process is connected to it."""
    folder = tempfile.mkdtemp(prefix="pd")  # short: sockets lie in it. Its address must not be found by other tests
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_worker_niceness", "0")  # as pd has it: Ray's own is left nothing beside other tests
        ray.shutdown()  # another file's tests may have left a cluster of their own to this process
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
        try:
            for _ in range(2):
                made.add_node(num_cpus=1, object_store_memory=STORE)
            ray.init(address=made.address, log_to_driver=False)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
