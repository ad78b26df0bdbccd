"""Rows in several places are searched as if they lay in one."""

import numpy as np
import pytest
import torch

from pd.reid.gallery import Gallery
from pd.reid.sharded import ShardedGallery, over_devices


def _unit(n: int, d: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("screen", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cuts", [[], [100], [1, 2, 500], [250, 251, 999]])
def test_the_cuts_do_not_matter(screen: torch.dtype, cuts: list[int]) -> None:
    rows, queries = _unit(1000, 24, 0), _unit(60, 24, 1)
    rows[[3, 260, 999]] = rows[600]  # copies in several parts: the lowest index has to win
    queries[:5] = rows[600]
    whole = Gallery(rows, screen=screen)
    sharded = ShardedGallery([Gallery(part, screen=screen) for part in np.split(rows, cuts)])
    assert len(sharded) == len(whole)
    for k in (1, 7, 300):
        for own, other in zip(whole.top_k(queries, k), sharded.top_k(queries, k), strict=True):
            np.testing.assert_array_equal(own, other)
    scores, index = sharded.nearest(queries)
    assert index[:5].tolist() == [3] * 5
    np.testing.assert_array_equal(sharded.any_above(queries, float(np.median(scores))), scores >= np.median(scores))


def test_devices_share_the_rows() -> None:
    rows, queries = _unit(50, 8, 0), _unit(9, 8, 1)
    found = over_devices(rows, ["cpu", torch.device("cpu"), "cpu"])
    np.testing.assert_array_equal(found.nearest(queries)[1], Gallery(rows).nearest(queries)[1])


def test_more_neighbours_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="k = 6 of a gallery of 5 rows"):
        ShardedGallery([Gallery(_unit(2, 4, 0)), Gallery(_unit(3, 4, 1))]).top_k(_unit(1, 4, 2), 6)
