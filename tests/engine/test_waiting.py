"""Who waits for the cluster says so, and ends where no machine answers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from pd.engine import waiting
from pd.engine.stream import watch
from pd.engine.waiting import GaveUpError, Silence, give_up_after, require_answer


@dataclass
class World:
    """A clock that is turned by hand, a cluster that answers or not, and what was said."""

    now: float = 0.0
    answers: tuple[int, int] = (0, 3)
    said: list[str] = field(default_factory=list)

    def silence(self) -> Silence:
        return Silence("a shard", lambda: self.answers, self.said.append, lambda: self.now)


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(waiting, "_address", lambda: "10.0.0.9")
    give_up_after(10)
    yield
    give_up_after(30)


def wait(world: World, silence: Silence, seconds: int) -> None:
    for _ in range(0, seconds, 5):
        world.now += 5
        silence.look()


def test_a_step_that_gets_on_is_left_alone() -> None:
    world = World()
    silence = world.silence()
    for _ in range(100):
        world.now += 55
        silence.look()
        silence.heard()
    assert world.said == []


def test_silence_is_told_with_its_usual_causes_and_ends_at_the_bound() -> None:
    world = World()
    silence = world.silence()
    wait(world, silence, 65)
    assert len(world.said) == 1
    assert (
        "waiting for a shard for 60 s: no machine answers; usually the machines cannot reach this process at 10.0.0.9"
        in world.said[0]
    )
    with pytest.raises(GaveUpError, match=r"cluster.silence_minutes = 10: waited for a shard for 10 minutes") as error:
        wait(world, silence, 900)
    assert world.now == 600
    assert error.value.exit_code == 1
    assert len(world.said) < 8


def test_machines_that_answer_are_not_given_up() -> None:
    world = World(answers=(3, 3))
    silence = world.silence()
    wait(world, silence, 36_000)
    assert 3 < len(world.said) < 12  # at ever longer intervals
    assert all("3 of 3 machines answer: workers compute, or wait" in line for line in world.said)
    world.answers = (0, 3)
    with pytest.raises(GaveUpError):
        wait(world, silence, 60_000)


def test_a_slow_step_is_given_the_time_that_it_has_shown_to_need() -> None:
    world = World()
    silence = world.silence()
    world.now += 100
    silence.heard()
    wait(world, silence, 495)
    assert world.said == []
    wait(world, silence, 10)
    assert len(world.said) == 1


def test_a_cluster_that_was_joined_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    give_up_after(0.001)
    asked = iter([(0, 2), (0, 2), (1, 2)])
    monkeypatch.setattr(waiting, "notice", lambda _: None)
    with pytest.raises(GaveUpError, match="an answer of the cluster"):
        require_answer(lambda: (waiting.time.sleep(0.1), (0, 2))[1])
    give_up_after(1)
    require_answer(lambda: next(asked))


def test_results_that_stay_away_end_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is cut off: Ray hands over no result, and no machine's answer arrives."""
    give_up_after(0.002)
    monkeypatch.setattr(watch, "LOOK", 0.05)
    monkeypatch.setattr(watch, "Silence", lambda what: Silence(what, lambda: (0, 2), lambda _: None))

    def results() -> Iterator[int]:
        yield 1
        waiting.time.sleep(30)

    found: Callable[[], float] = lambda: 1e9  # noqa: E731
    stream = watch.watched(results(), lambda: None, found)
    assert next(stream) == 1
    with pytest.raises(GaveUpError, match="waited for a shard"):
        next(stream)
