"""The rule on curves that a tiny network really took (450 steps of 8 faces, but for what the names say)."""

import json
from pathlib import Path

import pytest

from pd.training.divergence import WINDOW, LossWatch

CURVES: dict[str, list[float]] = json.loads((Path(__file__).parent / "loss_curves.json").read_text())
BLEW_UP = 200  # step at which `blow_up` got 300 times its learning rate


def fires(losses: list[float], watch: LossWatch | None = None) -> int | None:
    """The first step, from 1, at which the training counts as diverged."""
    watch = watch or LossWatch()
    for step, loss in enumerate(losses, start=1):
        watch.add(loss)
        if watch.diverged:
            return step
    return None


@pytest.mark.parametrize("name", ["normal", "high_rate", "one_image_a_step", "spike"])
def test_noise_and_a_spike_that_recovers_are_no_divergence(name: str) -> None:
    assert len(CURVES[name]) > 3 * WINDOW
    assert fires(CURVES[name]) is None


def test_the_spike_is_a_real_one() -> None:
    before = CURVES["spike"][:250]
    assert max(CURVES["spike"]) > 5 * max(before[WINDOW:])


def test_a_single_loss_however_high_is_no_divergence() -> None:
    losses = list(CURVES["normal"])
    losses[200] = 1e30
    assert fires(losses) is None


def test_a_blow_up_is_found_within_the_window_and_no_checkpoint_is_good_meanwhile() -> None:
    losses = CURVES["blow_up"]
    step = fires(losses)
    assert step is not None
    assert BLEW_UP + WINDOW // 2 < step <= BLEW_UP + WINDOW
    watch, rising = LossWatch(), []
    for done, loss in enumerate(losses[:step], start=1):
        watch.add(loss)
        if watch.rising:
            rising.append(done)
    assert BLEW_UP < rising[0] <= BLEW_UP + 10
    assert set(range(BLEW_UP + 10, BLEW_UP + 50)) <= set(rising)


def test_a_loss_that_was_lost_from_the_start_is_measured_against_the_untrained_model() -> None:
    losses = CURVES["normal"][:10] + [5.0] * WINDOW
    step = fires(losses)
    assert step is not None
    assert step <= WINDOW


def test_a_resumed_run_decides_as_an_uninterrupted_one() -> None:
    losses = CURVES["blow_up"]
    expected = fires(losses)
    for stop in (5, 50, 150, 230):
        first, second = LossWatch(), LossWatch()
        assert fires(losses[:stop], first) is None
        second.load(json.loads(json.dumps(first.state())))
        found = fires(losses[stop:], second)
        assert found is not None
        assert stop + found == expected
        assert second.limit == pytest.approx(3 * 0.1414, rel=0.01)
