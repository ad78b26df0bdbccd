import numpy as np

from pd.config import FilterSettings
from pd.filters.decide import Thresholds, decide

T = Thresholds(reid=0.5, near_copy=0.8)


def _scores(**columns):
    n = len(next(iter(columns.values())))
    plain = {"score": [0.0] * n, "near_copy": [0.0] * n, "duplicate": [False] * n, "prompt": [True] * n}
    kinds = {"score": float, "near_copy": float, "duplicate": bool, "prompt": bool}
    return {name: np.array(columns.get(name, values), kinds[name]) for name, values in plain.items()}


def test_each_reason():
    scores = _scores(
        score=[0.0, 0.5, 0.49, 0.0, 0.0],
        near_copy=[0.0, 0.0, 0.8, 0.0, 0.79],
        duplicate=[False, False, False, True, False],
        prompt=[False, True, True, True, True],
    )
    keep, reasons = decide(scores, FilterSettings(), T)
    assert reasons == ["prompt", "reid", "near_copy", "duplicate", ""]
    assert keep.tolist() == [False, False, False, False, True]


def test_the_first_that_applies_is_written():
    all_of_them = {"score": [0.9] * 3, "near_copy": [0.9] * 3, "duplicate": [True] * 3, "prompt": [False, True, True]}
    assert decide(_scores(**all_of_them), FilterSettings(), T)[1] == ["prompt", "reid", "reid"]
    without = FilterSettings(reid=False)
    assert decide(_scores(**all_of_them), without, T)[1] == ["prompt", "near_copy", "near_copy"]


def test_checks_can_be_off_but_the_prompts_stays():
    off = FilterSettings(reid=False, near_copy=False, duplicate=False)
    scores = _scores(score=[0.9, 0.9], near_copy=[0.9, 0.9], duplicate=[True, True], prompt=[True, False])
    assert decide(scores, off, T)[1] == ["", "prompt"]


def test_a_likeness_that_is_no_number_drops():
    assert decide(_scores(score=[np.nan]), FilterSettings(), T)[1] == ["reid"]
    assert decide(_scores(near_copy=[np.nan]), FilterSettings(), T)[1] == ["near_copy"]


def test_no_candidates():
    keep, reasons = decide(_scores(score=np.zeros(0)), FilterSettings(), T)
    assert keep.shape == (0,)
    assert reasons == []
