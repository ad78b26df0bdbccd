import time
from itertools import combinations

import numpy as np
import pytest

from pd.audit import cliques as module
from pd.audit.cliques import cliques
from pd.audit.tiles import likeness, tiles


def lump(rng: np.random.Generator, centre: np.ndarray, n: int, spread: float = 2) -> np.ndarray:
    return np.clip(centre + rng.normal(scale=spread, size=(n, *centre.shape)), 0, 255).astype(np.uint8)


def noise(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 256, (n, 16, 16, 1)).astype(np.uint8)


def test_lumps_are_found_and_lone_pictures_are_not() -> None:
    rng = np.random.default_rng(0)
    centres = noise(rng, 2).astype(float)
    images = np.concatenate(
        [noise(rng, 40), lump(rng, centres[0], 12), lump(rng, centres[1], 7), lump(rng, noise(rng, 1)[0], 2)]
    )
    found = cliques(tiles(images), 0.05, 3)
    assert [clique.tolist() for clique in found] == [list(range(40, 52)), list(range(52, 59))]


def test_every_pair_of_a_clique_is_near_and_no_sample_is_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)
    rng = np.random.default_rng(1)
    # A chain: neighbours are near, its ends are not.
    levels = np.linspace(0, 255, 60)
    images = np.broadcast_to(levels[:, None, None, None], (60, 8, 8, 1)).astype(np.uint8)
    rows = tiles(images[rng.permutation(60)])
    found = cliques(rows, 0.1, 4)
    assert len(found) >= 5
    everybody = np.concatenate(found)
    assert len(np.unique(everybody)) == len(everybody)
    near = likeness(rows, rows) >= -0.1
    assert all(near[a, b] for clique in found for a, b in combinations(clique, 2))


def test_the_distance_is_that_of_the_worst_tile() -> None:
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[1, :4, 12:] = 255  # one of sixteen tiles
    rows = tiles(images)
    assert rows.shape == (2, 16, 48)
    assert likeness(rows, rows) == pytest.approx(np.array([[0.0, -1.0], [-1.0, 0.0]]), abs=2e-3)


def test_large_and_odd_images_are_brought_to_whole_tiles() -> None:
    rng = np.random.default_rng(2)
    assert tiles(rng.integers(0, 256, (2, 70, 50, 3), dtype=np.uint8)).shape == (2, 16, 192)
    assert tiles(rng.integers(0, 256, (2, 18, 18, 1), dtype=np.uint8)).shape == (2, 16, 16)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_ten_thousand_samples_fit_in_time_and_memory() -> None:
    import tracemalloc

    rng = np.random.default_rng(3)
    images = np.concatenate([noise(rng, 6000), lump(rng, noise(rng, 1)[0].astype(float), 4000)])
    rows = tiles(images)
    tracemalloc.start()
    begin = time.process_time()
    found = cliques(rows, 0.05, 10)
    assert [len(clique) for clique in found] == [4000]
    assert time.process_time() - begin < 60
    assert tracemalloc.get_traced_memory()[1] < 500e6
    tracemalloc.stop()
