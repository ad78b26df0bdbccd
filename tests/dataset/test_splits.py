import pytest
from refusals import refused_as

from pd.dataset.splits import check_splits, hash_order, holdout_identities

NAMES = [f"person {i}" for i in range(40)]


def test_the_order_is_the_seeds_and_not_the_lists():
    assert hash_order(NAMES, 1, "a") == hash_order(list(reversed(NAMES)) + NAMES, 1, "a")
    assert hash_order(NAMES, 1, "a") != hash_order(NAMES, 2, "a")
    assert hash_order(NAMES, 1, "a") != hash_order(NAMES, 1, "b")


@pytest.mark.parametrize(("share", "expected"), [(0.5, 20), (0.25, 10), (0.01, 4), (0.99, 38)])
def test_share_of_people_with_enough_on_both_sides(share, expected):
    assert len(holdout_identities(NAMES, 7, share)) == expected


def test_one_newcomer_moves_at_most_one_other():
    before = holdout_identities(NAMES, 7, 0.5)
    for newcomer in ("x", "y", "z"):
        after = holdout_identities([*NAMES, newcomer], 7, 0.5)
        assert len((before ^ after) - {newcomer}) <= 1


@pytest.mark.parametrize("people", [2, 5])
def test_too_few_people(people):
    with refused_as("too-few-people", people, "6"):
        holdout_identities(NAMES[:people], 7, 0.5)
    assert len(holdout_identities(NAMES[:6], 7, 0.1)) == 4


def test_a_split_column_must_leave_enough_on_both_sides():
    check_splits({"a": "member", "b": "member", **dict.fromkeys("cdef", "holdout")}, "m.csv")
    with refused_as("too-few-people", "1", "'member'"):
        check_splits({"a": "member", **dict.fromkeys("cdef", "holdout")}, "m.csv")
    with refused_as("too-few-people", "3", "'holdout'"):
        check_splits({"a": "member", "b": "member", **dict.fromkeys("cde", "holdout")}, "m.csv")
