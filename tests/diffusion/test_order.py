import numpy as np
import pytest

from pd.diffusion.order import Order, share
from pd.diffusion.randomness import Purpose, stream

LARGE = Order(seed=3, rows=103, shard_rows=10, window_rows=35)
"""Eleven shards, the last of three rows, in four windows of up to three."""


def epoch(order: Order, number: int) -> np.ndarray:
    return order.at(np.arange(number * order.rows, (number + 1) * order.rows))


@pytest.mark.parametrize("order", [LARGE, Order(3, 103), Order(3, 103, 10, 103), Order(3, 1), Order(3, 5, 2, 1)])
def test_every_row_comes_once_an_epoch_in_an_order_of_its_own(order: Order) -> None:
    epochs = [epoch(order, number) for number in range(3)]
    assert all(sorted(rows.tolist()) == list(range(order.rows)) for rows in epochs)
    assert order.rows == 1 or not np.array_equal(epochs[0], epochs[1])


def test_one_window_is_one_permutation() -> None:
    expected = stream(3, Purpose.EPOCH, 2).permutation(103)
    for order in (Order(3, 103), Order(3, 103, 10, 103), Order(3, 103, 10)):
        assert order.windows == 1
        assert np.array_equal(epoch(order, 2), expected)


def test_a_window_is_left_before_the_next_begins_and_holds_few_rows() -> None:
    assert LARGE.windows == 4
    positions = np.arange(2 * LARGE.rows)
    windows, rows = LARGE.windows_at(positions), LARGE.at(positions)
    assert windows.tolist() == sorted(windows.tolist())
    assert set(windows.tolist()) == set(range(8))
    for window in range(8):
        here = rows[windows == window]
        assert len(here) <= 35
        assert sorted(set((here // 10).tolist())) == LARGE.shards_of(window).tolist()
    assert sum(len(LARGE.shards_of(window)) for window in range(4)) == 11


def test_rows_are_shuffled_within_a_window_and_shards_between_windows() -> None:
    rows, windows = epoch(LARGE, 0), LARGE.windows_at(np.arange(103))
    first = rows[windows == 0]
    assert len(set((first[:10] // 10).tolist())) > 1
    assert {tuple(LARGE.shards_of(window)) for window in range(4)} != {tuple(LARGE.shards_of(4 + w)) for w in range(4)}


def test_any_position_is_known_without_those_before() -> None:
    whole = LARGE.at(np.arange(1000))
    for start in (0, 34, 102, 103, 517, 990):
        again = Order(seed=3, rows=103, shard_rows=10, window_rows=35)
        assert np.array_equal(again.at(np.arange(start, start + 10)), whole[start : start + 10])
    scattered = np.array([999, 3, 500, 3])
    assert np.array_equal(LARGE.at(scattered), whole[scattered])
    assert not np.array_equal(Order(4, 103, 10, 35).at(np.arange(1000)), whole)


def test_an_epoch_far_away_costs_no_more() -> None:
    rows = LARGE.at(np.arange(10**9 * 103, 10**9 * 103 + 103))
    assert sorted(rows.tolist()) == list(range(103))


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_shares_of_all_ranks_are_the_step(world: int) -> None:
    parts = [share(7, 12, rank, 12 // world) for rank in range(world)]
    assert np.concatenate(parts).tolist() == list(range(84, 96))


def test_shares_that_are_too_large_repeat_the_last_row() -> None:
    assert [share(7, 10, rank, 4).tolist() for rank in range(3)] == [[70, 71, 72, 73], [74, 75, 76, 77], [78, 79, 79, 79]]


def test_nothing_has_no_order() -> None:
    with pytest.raises(ValueError, match="no images"):
        Order(1, 0)
