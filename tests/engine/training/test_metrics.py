"""What a training tells Prometheus: its figures once it trains, under its own name."""

import pytest

from pd.engine.training.metrics import TrainingMeters


def test_gauges_follow_the_training_and_not_its_preparation(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float, dict[str, str]]] = []

    class Gauge:
        def __init__(self, name: str, words: str, tags: tuple[str, ...]) -> None:
            self.name = name
            assert words
            assert tags == ("model",)

        def set(self, value: float, tags: dict[str, str]) -> None:
            told.append((self.name, value, tags))

    monkeypatch.setattr("ray.util.metrics.Gauge", Gauge)
    meters = TrainingMeters("student")
    meters.show({"step": 64, "steps": 200, "phase": "preparing"})
    assert told == []
    meters.show({"step": 5, "steps": 10, "loss": 0.5, "samples": "failed"})
    mine = {"model": "student"}
    assert told == [("pd_training_step", 5, mine), ("pd_training_steps", 10, mine), ("pd_training_loss", 0.5, mine)]
