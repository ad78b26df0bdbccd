"""Histogram geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pd.report.figures import histogram, steps_path, ticks

likenesses = st.lists(st.floats(-1, 1, width=32), max_size=40)


@given(likenesses, likenesses, likenesses, st.floats(-1, 1))
def test_every_score_is_in_one_bin_on_its_side_of_the_threshold(scores, strangers, members, threshold):
    scores, strangers, members = (np.array(values, np.float32) for values in (scores, strangers, members))
    keep = scores < threshold
    found = histogram(scores, keep, strangers, members, threshold)
    if found is None:
        assert not len(scores) + len(strangers) + len(members)
        return
    assert sum(each.kept for each in found.bins) == keep.sum()
    assert sum(each.dropped for each in found.bins) == (~keep).sum()
    assert sum(each.strangers for each in found.bins) == len(strangers)
    assert sum(each.members for each in found.bins) == len(members)
    assert min(abs(each.low - threshold) for each in found.bins) < 1e-6
    assert 0 < found.top <= 1


def test_shares_are_of_each_group_and_unscored_are_counted():
    scores = np.array([0.1, 0.9, np.nan, 0.1], np.float32)
    found = histogram(scores, scores < 0.5, np.array([0.2], np.float32), np.zeros(0, np.float32), 0.5)
    assert found.unscored == 1
    assert sum(each.kept_share + each.dropped_share for each in found.bins) == pytest.approx(1)
    assert sum(each.strangers_share for each in found.bins) == pytest.approx(1)
    assert sum(each.members_share for each in found.bins) == 0


def test_ticks_are_round_and_inside():
    assert ticks(0, 0.17, 4) == [0.0, 0.05, 0.1, 0.15]
    assert ticks(-0.02, 0.7) == [0.0, 0.2, 0.4, 0.6]


def test_outline_starts_and_ends_on_the_ground():
    assert steps_path([0.5, 1.0], 10, 20, 100, 50, 1.0) == "M10.0 100.0V75.0H20.0V50.0H30.0V100.0"
