"""Identities most at risk."""

import numpy as np

from pd.report.data import Candidates
from pd.report.risk import at_risk, concentration


def test_people_are_ordered_by_what_is_taken_for_them():
    scores = np.array([0.9, 0.8, 0.7, 0.2, np.nan, 0.4], np.float32)
    nearest = ["a1", "a2", "b1", "b1", "a1", "c1"]
    keep = np.array([False, False, False, True, True, True])
    found = at_risk(
        Candidates(list("123456"), scores, nearest, keep, [""] * 6), {"a1": "A", "a2": "A", "b1": "B", "c1": "C"}, 0.6
    )
    assert [(one.identity, one.candidates, one.taken, one.kept) for one in found] == [
        ("A", 2, 2, 0),
        ("B", 2, 1, 1),
        ("C", 1, 0, 1),
    ]
    assert found[0].closest is None
    assert found[1].closest == np.float32(0.2)
    assert found[1].image == "b1"
    assert concentration(found) == (1, 2)


def test_nobody_known_or_taken():
    none = Candidates(["1"], np.array([0.1], np.float32), ["x"], np.ones(1, bool), [""])
    assert at_risk(none, {}, 0.5) == []
    assert concentration(at_risk(none, {"x": "X"}, 0.5)) is None
