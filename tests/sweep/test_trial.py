from dataclasses import asdict

import pytest

from pd.config import parse_settings
from pd.sweep.trial import Trial, choices, draw_trials, without_effect


def test_the_first_trial_is_the_settings_as_they_are() -> None:
    settings = parse_settings(
        {"filter": {"near_copy": False, "vote": "majority"}, "reid": {"calibration": {"method": "fixed"}}}
    )
    first = draw_trials(settings)[0]
    assert first == Trial.of(settings)
    assert (first.detectors, first.vote, first.reid_quantile) == ("reid", "majority", None)
    assert first.apply(settings) == settings


def test_more_trials_leave_the_first_ones_as_they_were() -> None:
    few, many = (draw_trials(parse_settings({}, [f"sweep.trials={n}"])) for n in (20, 50))
    assert many[:20] == few
    assert len(set(many)) == 50
    other = draw_trials(parse_settings({}, ["sweep.trials=20", "seed=8"]))
    assert other[0] == few[0]
    assert not set(other[1:]) & set(few[1:])


def test_trials_fill_the_ranges_that_are_asked_for() -> None:
    sets = ["sweep.trials=200", "sweep.reid_quantile=[0.6,0.8]", "sweep.near_copy_quantile=[0.9,0.9]", "sweep.prompt_k=[2,5]"]
    trials = draw_trials(parse_settings({}, [*sets, "sweep.guidance=[2.0]", "reid.networks=3"]))[1:]
    quantiles = sorted(trial.reid_quantile or 0 for trial in trials)
    assert 0.6 <= quantiles[0] < 0.605
    assert 0.795 < quantiles[-1] <= 0.8
    assert {trial.near_copy_quantile for trial in trials} == {0.9}
    assert {trial.prompt_k for trial in trials} == {3, 5}  # the candidates were asked for with the captions of three
    assert {trial.guidance for trial in trials} == {1.0}  # only new candidates could tell
    for name, count in (("detectors", 3), ("vote", 2), ("prompt_k", 2)):
        values = [getattr(trial, name) for trial in trials]
        assert all(abs(values.count(value) / len(values) - 1 / count) < 0.05 for value in set(values))


def test_one_network_has_no_vote_and_full_trials_have_guidance() -> None:
    settings = parse_settings({}, ["sweep.guidance=[2.0]", "sweep.candidates=[100]"])
    assert choices(settings, full=False)["vote"] == ["any"]
    assert choices(settings, full=False)["guidance"] == [1.0]
    assert choices(settings, full=True)["guidance"] == [1.0, 2.0]
    assert choices(settings, full=True)["candidates"] == [100, 3072]


def test_what_is_asked_for_and_cannot_be_tried_is_said() -> None:
    asked = ["sweep.prompt_k=[1,2,3,5]", "sweep.guidance=[1.0,2.0]", "sweep.candidates=[100]"]
    small, *rest = without_effect(parse_settings({}, asked))
    assert small.startswith("sweep.prompt_k: 1, 2 not tried: the candidates show captions of 3 people or more")
    assert [line.split(": ")[0] for line in rest] == ["sweep.guidance", "sweep.candidates"]
    assert without_effect(parse_settings({}, [*asked, "sweep.full=2"])) == [small]
    assert without_effect(parse_settings({}, ["sweep.prompt_k=[3,5]", "sweep.guidance=[1.0]"])) == []


@pytest.mark.parametrize("detectors", ["both", "reid", "near_copy", "neither"])
def test_a_trial_becomes_settings_and_comes_back(detectors: str) -> None:
    settings = parse_settings({}, ["reid.calibration.method=probability"])
    trial = Trial(0.7, 0.8, detectors, "majority", 5, 2.0, 100)  # type: ignore[arg-type]
    applied = trial.apply(settings)
    assert (applied.reid.calibration.method, applied.reid.calibration.quantile) == ("stranger_quantile", 0.7)
    assert asdict(Trial.of(applied)) == {**asdict(trial), "reid_quantile": None}
    assert applied.teacher == settings.teacher
