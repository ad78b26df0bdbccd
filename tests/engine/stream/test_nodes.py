"""Nodes that die while the stream runs: it goes on with what is left, and ends in words when nothing is."""

from collections import Counter
from dataclasses import asdict

import pytest
import torch
from stream_world import SEED, SETTINGS, bytes_of, logging_preview, make, make_world, written
from two_nodes import STORE, two_nodes

from pd.engine.stream import watch as stream_watch
from pd.engine.stream.generator import Generator
from pd.engine.stream.shards import plan
from pd.errors import UserError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def expected(world, tmp_path_factory):
    """What a worker makes that nobody disturbs."""
    out = tmp_path_factory.mktemp("expected")
    threads = torch.get_num_threads()
    generator = Generator(world.teacher, world.reid, world.reid, world.prompts, SETTINGS, SEED, "grey", out, "", None)
    for shard in plan(SETTINGS.candidates, SETTINGS.shard_size, SETTINGS.batch):
        generator(asdict(shard))
    torch.set_num_threads(threads)
    return bytes_of(out)


@pytest.fixture
def cluster():
    with two_nodes() as made:
        yield made


@pytest.mark.exhaustive
def test_nodes_die(world, expected, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(stream_watch, "LOOK", 0.5)
    monkeypatch.setattr(stream_watch, "PATIENCE", 5.0)
    log, nodes = tmp_path / "log", {node.node_id: node for node in cluster.worker_nodes}

    def remove_one(done, total, info):
        if done >= 16 and len(nodes) == 2:
            cluster.remove_node(nodes.pop(written(log)[-1][2]), allow_graceful=False)

    make(world, tmp_path / "one", workers=2, progress=remove_one, preview=logging_preview(log))
    assert len(nodes) == 1
    assert bytes_of(tmp_path / "one") == expected
    times = Counter(first for first, _, _ in written(log))
    assert times.total() - len(times) <= 1

    log.unlink()

    def remove_the_other(done, total, info):
        if done >= 16 and nodes:
            cluster.remove_node(nodes.popitem()[1], allow_graceful=False)

    with pytest.raises(UserError, match="room for 0"):
        make(world, tmp_path / "two", progress=remove_the_other, preview=logging_preview(log))
    cluster.add_node(num_cpus=1, object_store_memory=STORE)
    make(world, tmp_path / "two", preview=logging_preview(log))
    assert bytes_of(tmp_path / "two") == expected
    times = Counter(first for first, _, _ in written(log))
    assert times.total() - len(times) <= 1
