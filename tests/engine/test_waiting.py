"""Who waits for the cluster says so, and ends where no machine answers."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from refusals import refused_as

from pd.config import load_settings
from pd.engine import sweep, waiting
from pd.engine.stream import watch
from pd.engine.training import encode
from pd.engine.waiting import GaveUpError, Silence, give_up_after, require_answer
from pd.errors import UserError
from pd.pipeline import run_sweep
from pd.progress import Reporter, silent


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
    with refused_as("no-cluster", "cluster.silence_minutes = 10", "a shard", "10 minutes") as error:
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
    with refused_as("no-cluster", "an answer of the cluster"):
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
    with refused_as("no-cluster", "a shard"):
        next(stream)


def test_trials_that_stay_away_end_the_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give_up_after(0.002)
    monkeypatch.setattr(sweep, "Silence", lambda what: Silence(what, lambda: (0, 2), lambda _: None))
    monkeypatch.setattr(sweep, "connect", lambda _: None)
    monkeypatch.setattr("ray.tune.Tuner", lambda *_, **__: SimpleNamespace(fit=lambda: time.sleep(30)))
    with refused_as("no-cluster", "a trial"):
        sweep.run_grid(lambda *_: {}, None, [{"at": 0}], tmp_path, cpus=1, address=None, progress=silent)


def test_a_sweep_waits_as_its_settings_say(tmp_path: Path) -> None:
    with pytest.raises(UserError):  # there is no run to search in
        run_sweep(load_settings(Path("configs/smoke.yaml"), [f"runs={tmp_path}", "cluster.silence_minutes=3"]), Reporter())
    assert waiting._BOUND == [180.0]


def test_a_task_that_never_answers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """No result comes, and no machine answers: the encoding's first step, which is a task of its own."""
    give_up_after(0.002)
    monkeypatch.setattr(waiting, "answering", lambda: (0, 2))
    monkeypatch.setattr(waiting, "notice", lambda _: None)
    monkeypatch.setattr("ray.wait", lambda asked, timeout: (time.sleep(0.05), ([], asked))[1])
    monkeypatch.setattr("ray.remote", lambda **_: lambda _: SimpleNamespace(remote=lambda _: "asked"))
    monkeypatch.setattr("ray.get", lambda _: pytest.fail("it would wait for ever"))
    monkeypatch.setattr(encode, "shard_rows", lambda _: 1)
    monkeypatch.setattr(encode, "missing", lambda *_: ["a shard"])
    job: Any = SimpleNamespace(settings=SimpleNamespace(gpus_per_worker=0))
    with refused_as("no-cluster", "cluster.silence_minutes = 0.002", "the model that encodes"):
        encode.encode_on_ray(job, 10, silent)
