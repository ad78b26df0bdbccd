import threading

import pytest

from pd.engine.stream import watch as stream_watch
from pd.engine.stream.watch import Hung, silence_allowed, watched
from pd.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(stream_watch, "LOOK", 0.01)
    monkeypatch.setattr(stream_watch, "PATIENCE", 0.03)


def _no_node():
    raise UserError("no node")


def _ever():
    return float("inf")


def test_results_come_in_order_and_end():
    assert list(watched(iter(range(100)), _no_node, _ever)) == list(range(100))


def test_an_error_comes_as_it_is():
    def results():
        yield 1
        raise KeyError("x")

    seen = watched(results(), _no_node, _ever)
    assert next(seen) == 1
    with pytest.raises(KeyError):
        next(seen)


def test_waiting_without_a_node_ends():
    never = threading.Event()
    with pytest.raises(UserError, match="no node"):
        list(watched(iter(never.wait, None), _no_node, _ever))
    never.set()


def test_a_node_that_comes_back_in_time_ends_nothing():
    back, looks = threading.Event(), []

    def results():
        back.wait()
        yield "late"

    def check():
        looks.append(1)
        if len(looks) > 20:
            back.set()
        if len(looks) % 3:  # never for as long as PATIENCE
            _no_node()

    assert list(watched(results(), check, _ever)) == ["late"]


def test_silence_ends_when_it_lasts_too_long_while_there_is_a_node():
    never = threading.Event()

    def results():
        yield "one"
        never.wait()

    seen = watched(results(), lambda: None, lambda: 0.05)
    assert next(seen) == "one"
    with pytest.raises(Hung):
        next(seen)
    never.set()


def test_slow_shards_are_waited_for():
    assert silence_allowed(0.0) > silence_allowed(1.0)
    assert silence_allowed(3600.0) > 3600.0
