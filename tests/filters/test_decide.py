import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from pd.config import FilterSettings
from pd.filters.decide import Thresholds, decide, margin, preview, reasons_of

T = Thresholds(reid=0.5, near_copy=0.8)
REASONS = reasons_of(T)


def _scores(**columns):
    n = len(next(iter(columns.values())))
    plain = {"score": [0.0] * n, "near_copy": [0.0] * n, "duplicate": [False] * n, "prompt": [True] * n}
    kinds = {"score": float, "near_copy": float, "duplicate": bool, "prompt": bool}
    further = np.array(columns.pop("further", [[]] * n), np.float32)
    return {"further": further} | {name: np.array(columns.get(name, values), kinds[name]) for name, values in plain.items()}


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


def test_each_check_can_be_off():
    all_of_them = _scores(score=[0.9], near_copy=[0.9], duplicate=[True], prompt=[False])
    for reason in REASONS:
        off = FilterSettings(**{other: other == reason for other in REASONS})
        assert decide(all_of_them, off, T)[1] == [reason]
    assert decide(all_of_them, FilterSettings(**dict.fromkeys(REASONS, False)), T)[1] == [""]


def test_a_shard_alone_is_foretold_without_its_duplicates_elsewhere():
    table = pa.table({"score": [0.9, 0.1, 0.1], "near_copy": [0.0, 0.9, 0.1], "pixels_sha": ["a", "b", "b"]})
    assert preview(table, FilterSettings(), T) == {"reid": 1, "near_copy": 1, "duplicate": 1}
    assert preview(table, FilterSettings(duplicate=False), T) == {"reid": 1, "near_copy": 1, "": 1}


def test_a_likeness_that_is_no_number_drops():
    assert decide(_scores(score=[np.nan]), FilterSettings(), T)[1] == ["reid"]
    assert decide(_scores(near_copy=[np.nan]), FilterSettings(), T)[1] == ["near_copy"]


def test_no_candidates():
    keep, reasons = decide(_scores(score=np.zeros(0)), FilterSettings(), T)
    assert keep.shape == (0,)
    assert reasons == []


def test_networks_vote_by_their_own_thresholds():
    scores = _scores(score=[0.4, 0.5, 0.5, 0.4, 0.4], further=[[0.1, 0.1], [0.1, 0.1], [0.7, 0.1], [0.6, 0.7], [0.6, 0.8]])
    thresholds = Thresholds(reid=0.5, near_copy=0.8, further=(0.6, 0.8))
    assert decide(scores, FilterSettings(), thresholds)[0].tolist() == [True, False, False, False, False]
    majority = FilterSettings(vote="majority")
    assert decide(scores, majority, thresholds)[0].tolist() == [True, True, False, True, False]


def test_one_network_is_a_majority_of_itself():
    scores = np.array([0.5, 0.49], np.float32)
    for vote in ("any", "majority"):
        assert (margin(scores, np.zeros((2, 0), np.float32), T, vote) >= 0).tolist() == [True, False]


def test_a_vote_that_is_no_number_counts_against_the_candidate():
    scores = _scores(score=[0.1], further=[[np.nan]])
    assert decide(scores, FilterSettings(), Thresholds(0.5, 0.8, (0.5,)))[1] == ["reid"]


def test_each_space_votes_by_itself():
    limits = Thresholds(reid=0.5, near_copy=0.8, families={"whitened": 0.3, "imagenet": 0.4})
    scores = _scores(score=[0.0] * 5 + [0.9])
    scores |= {"family.whitened": np.array([0.3, 0.29, 0.1, np.nan, 0.9, 0.9])}
    scores |= {"family.imagenet": np.array([0.0, 0.39, 0.4, 0.0, 0.9, 0.9])}
    scores |= {"family.gradients": np.ones(6)}  # scored, and does not vote
    assert decide(scores, FilterSettings(), limits)[1] == ["whitened", "", "imagenet", "whitened", "whitened", "reid"]
    assert reasons_of(limits) == ["prompt", "reid", "near_copy", "whitened", "imagenet", "duplicate"]


def test_thresholds_survive_json():
    limits = Thresholds(0.5, 0.8, (0.6,), {"whitened": 0.3})
    assert Thresholds.from_json(json.loads(json.dumps(asdict(limits)))) == limits
