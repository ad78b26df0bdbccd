import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pd.reid.gallery import Gallery

SCREENS = [torch.float32, torch.bfloat16]


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rows_of(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


def brute(queries: NDArray[np.float32], rows: NDArray[np.float32], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Float64, ties to the lowest index; BLAS gives equal rows scores that differ in the last bits, hence the rounding."""
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    order = np.argsort(-np.round(scores, 14), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


def check(queries: NDArray[np.float32], rows: NDArray[np.float32], screen: torch.dtype, block: int, k: int = 1) -> None:
    wanted, order = brute(queries, rows, k)
    gallery = Gallery(rows, screen=screen)
    scores, index = gallery.top_k(queries, k, block)
    assert scores.dtype == np.float32
    assert index.dtype == np.int64
    np.testing.assert_array_equal(index, order)
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=1e-6)
    for t in (float(scores[0, 0]), float(np.median(wanted[:, 0])), -1.0, 1.1):
        np.testing.assert_array_equal(gallery.any_above(queries, t, block), scores[:, 0] >= np.float64(t))


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("d", [1, 2, 3, 64, 2048])
@pytest.mark.parametrize("m", [1, 2, 63, 64, 65, 700])
def test_agrees_with_float64_brute_force(screen: torch.dtype, d: int, m: int) -> None:
    rows, queries = rows_of(m, d), rows_of(20, d, 1)
    queries[:2] = rows[[0, m - 1]]
    queries[2] = -rows[0]
    check(queries, rows, screen, block=8192, k=min(m, 4))


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("block", [1, 7, 64, 119, 120, 10_000])
def test_the_block_does_not_matter(screen: torch.dtype, block: int) -> None:
    check(rows_of(30, 16, 1), rows_of(120, 16), screen, block, k=3)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-6, 3e-7])
def test_near_ties_closer_than_the_bound(screen: torch.dtype, gap: float) -> None:
    # 500 rows on a cone around the query: cosines 0.7, 0.7 + gap, ... in random order, so the screen cannot tell them apart.
    chance = np.random.default_rng(0)
    query = rows_of(1, 64, 5).astype(np.float64)
    away = chance.normal(size=(500, 64))
    away -= (away @ query.T) * query
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    cosine = 0.7 + gap * chance.permutation(500)[:, None] / 500
    rows = unit(cosine * query + np.sqrt(1 - cosine**2) * away)
    check(unit(query), rows, screen, block=128, k=5)


@pytest.mark.parametrize("screen", SCREENS)
def test_thousands_of_copies_tie_to_the_lowest_index(screen: torch.dtype) -> None:
    distinct = rows_of(5, 32)
    rows = distinct[np.random.default_rng(1).integers(0, 5, 3000)]
    queries = unit(distinct + 0.01 * rows_of(5, 32, 2))
    _, index = Gallery(rows, screen=screen).nearest(queries, block=500)
    first = [int(np.flatnonzero((rows == row).all(1))[0]) for row in distinct]
    assert index.tolist() == first
    check(queries, rows, screen, block=500, k=7)


def test_minus_zero_is_zero_among_copies() -> None:
    rows = np.array([[0.0, -1.0], [-0.0, 1.0], [0.0, 1.0]], np.float32)
    assert Gallery(rows).nearest(rows)[1].tolist() == [0, 1, 1]


@pytest.mark.parametrize("screen", SCREENS)
def test_more_pairs_than_are_held_at_once(screen: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pd.reid.gallery._PAIRS", 50)
    monkeypatch.setattr("pd.reid.gallery._NUMBERS", 100)
    monkeypatch.setattr("pd.reid.gallery._QUERIES", 3)
    centre = rows_of(1, 8)
    rows = unit(centre + 1e-3 * rows_of(400, 8, 1))
    check(unit(centre + 1e-3 * rows_of(10, 8, 2)), rows, screen, block=90, k=4)


def test_clustered_rows_that_bfloat16_cannot_tell_apart() -> None:
    centres = rows_of(4, 256)
    rows = unit(np.repeat(centres, 150, 0) + 0.05 * rows_of(600, 256, 1))
    queries = unit(np.repeat(centres, 5, 0) + 0.05 * rows_of(20, 256, 2))
    for k in (1, 6):
        check(queries, rows, torch.bfloat16, block=256, k=k)


def test_a_query_scores_the_same_alone_and_in_a_batch() -> None:
    rows, queries = rows_of(500, 48), rows_of(40, 48, 1)
    gallery = Gallery(rows)
    together, which = gallery.nearest(queries)
    for i in range(len(queries)):
        alone, index = gallery.nearest(queries[i : i + 1])
        assert alone[0] == together[i]
        assert index[0] == which[i]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 90), st.integers(1, 12), st.integers(1, 100), st.sampled_from(SCREENS), st.integers(0, 9)
)
def test_any_shape_with_rows_on_a_coarse_grid(n: int, m: int, d: int, block: int, screen: torch.dtype, seed: int) -> None:
    # Coarse coordinates make many equal rows and queries that are gallery rows.
    chance = np.random.default_rng(seed)
    rows, queries = (unit(chance.integers(-1, 2, size=(count, d)) + 1e-9 * np.ones(d)) for count in (m, n))
    check_scores_only(queries, rows, screen, block)


def check_scores_only(queries: NDArray[np.float32], rows: NDArray[np.float32], screen: torch.dtype, block: int) -> None:
    """Different rows may score the same up to the last bits of float64 here: then any of them, but the first of its copies."""
    wanted, _ = brute(queries, rows, 1)
    scores, index = Gallery(rows, screen=screen).nearest(queries, block)
    np.testing.assert_allclose(scores, wanted[:, 0], rtol=0, atol=1e-6)
    exact = (queries.astype(np.float64) * rows[index].astype(np.float64)).sum(1)
    np.testing.assert_allclose(exact, wanted[:, 0], rtol=0, atol=1e-13)
    assert all((rows[:i] != rows[i]).any(1).all() for i in index)


def test_no_queries_give_no_answers() -> None:
    gallery = Gallery(rows_of(3, 4))
    scores, index = gallery.nearest(np.zeros((0, 4), np.float32))
    assert scores.shape == index.shape == (0,)
    assert gallery.any_above(np.zeros((0, 4), np.float32), 0.5).shape == (0,)


@pytest.mark.parametrize("bad", [np.zeros(4), np.full(4, np.nan), np.array([np.inf, 0, 0, 0]), np.full(4, 0.51)])
def test_rows_and_queries_that_are_not_unit_are_refused(bad: NDArray[np.float64]) -> None:
    rows = rows_of(10, 4)
    rows[7] = bad
    with pytest.raises(ValueError, match="row 7 has length"):
        Gallery(rows)
    with pytest.raises(ValueError, match="queries: row 7 has length"):
        Gallery(rows_of(3, 4)).nearest(rows)


def test_wrong_shapes_are_refused() -> None:
    gallery = Gallery(rows_of(3, 4))
    with pytest.raises(ValueError, match="no rows"):
        Gallery(np.zeros((0, 4), np.float32))
    with pytest.raises(ValueError, match="matrix"):
        Gallery(np.ones(4, np.float32))
    with pytest.raises(ValueError, match="5 dimensions, the gallery 4"):
        gallery.nearest(rows_of(2, 5))
    with pytest.raises(ValueError, match="block = 0"):
        gallery.nearest(rows_of(2, 4), block=0)
    for k in (0, 4):
        with pytest.raises(ValueError, match="of a gallery of 3 rows"):
            gallery.top_k(rows_of(2, 4), k)
    with pytest.raises(ValueError, match="t = nan"):
        gallery.any_above(rows_of(2, 4), float("nan"))
