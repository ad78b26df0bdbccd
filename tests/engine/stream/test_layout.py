import pytest
from refusals import refused_as

from pd.engine.stream.layout import ACTOR_CPUS, SHARED_CPUS, SLOT, Layout, plan_layout
from pd.errors import UserError


@pytest.mark.parametrize(("cpus", "actors"), [(1, 1), (2, 2), (4, 4), (16, 16)])
def test_as_many_actors_as_cpus_and_a_slot_stays_free(cpus, actors):
    layout = plan_layout([{"CPU": cpus}], workers=0, gpus_per_worker=0, shards=100)
    assert layout == Layout(actors, ACTOR_CPUS, 0)
    assert layout.actors * layout.cpus + SLOT <= cpus + 1e-9


def test_an_actor_has_to_fit_into_one_node():
    assert plan_layout([{"CPU": 1}, {"CPU": 3}, {"CPU": 0}], 0, 0, 100).actors == 4
    with refused_as("no-resources", "0"):
        plan_layout([{"CPU": 0.5}, {"CPU": 0.5}], 1, 0, 100)


def test_gpus_bound_the_actors():
    nodes = [{"CPU": 16, "GPU": 2}, {"CPU": 16}]
    assert plan_layout(nodes, 0, 1, 100) == Layout(2, ACTOR_CPUS, 1)
    assert plan_layout(nodes, 0, 0.5, 100).actors == 4
    with refused_as("no-resources", "3", "0.4", "CPU", "1", "GPU"):
        plan_layout(nodes, 3, 1, 100)


def test_no_gpu_idles_because_cpus_are_few_beside_it_or_many_elsewhere():
    nodes = [{"CPU": 4, "GPU": 8}, {"CPU": 64}]
    assert plan_layout(nodes, 0, 1, 100) == Layout(8, SHARED_CPUS, 1)
    assert plan_layout(nodes, 8, 1, 100).actors == 8
    assert plan_layout([{"CPU": 8, "GPU": 1}, {"CPU": 64}], 0, 0.25, 100) == Layout(4, ACTOR_CPUS, 0.25)


def test_no_more_actors_than_shards():
    assert plan_layout([{"CPU": 16}], 0, 0, 3).actors == 3


def test_a_layout_that_would_hang_is_refused_with_its_numbers():
    with pytest.raises(UserError) as caught:
        plan_layout([{"CPU": 2}], workers=5, gpus_per_worker=0, shards=100)
    text = str(caught.value)
    assert "5 actors of 0.4 CPU" in text
    assert "2 CPU" in text
    assert "room for 4" in text
    assert "generate.workers = 5" in text


def test_more_actors_than_cpus_share_them():
    assert plan_layout([{"CPU": 2}], workers=4, gpus_per_worker=0, shards=100) == Layout(4, SHARED_CPUS, 0)
