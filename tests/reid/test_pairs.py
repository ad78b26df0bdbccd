import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pd.config import CalibrationSettings
from pd.reid import pairs
from pd.reid.calibrate import calibrate, verification
from pd.reid.pairs import auc_of_pairs, pairs_of, rank1


def people(images: int, each: int, seed: int = 0, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows of so many images, `each` a person."""
    chance = np.random.default_rng(seed)
    who = np.arange(images) // each
    rows = chance.normal(size=(images // each + 1, 8))[who] + spread * chance.normal(size=(images, 8)) * 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), who.astype(str)


@pytest.mark.parametrize("block", [1 << 22, 700, 1])
def test_blocks_count_what_the_whole_matrix_shows(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, who = people(120, 4)
    rows[7], rows[9] = rows[3], rows[50]  # ties within a person, and between two
    monkeypatch.setattr(pairs, "_BLOCK", block)
    monkeypatch.setattr(pairs, "_HELD", 50)  # so that pairs of one person are held in several parts
    cosines, same = rows @ rows.T, who[:, None] == who[None]
    upper = np.triu_indices(120, 1)
    auc, ones, twos = auc_of_pairs(rows, who)
    assert auc == pytest.approx(roc_auc_score(same[upper], cosines[upper]), abs=1e-12 if block > 1000 else 1e-4)
    assert (ones, twos) == (int(same[upper].sum()), int((~same[upper]).sum()))
    np.fill_diagonal(cosines, -np.inf)
    assert rank1(rows, who) == pytest.approx(same[np.arange(120), cosines.argmax(1)].mean())


def test_few_pairs_are_kept_one_by_one() -> None:
    rows, who = people(30, 3)
    cosines, same, count = pairs_of(rows, who)
    left, right = np.triu_indices(30, 1)
    assert count is None
    assert np.array_equal(cosines, (rows @ rows.T)[left, right])
    assert np.array_equal(same, who[left] == who[right])


def test_many_pairs_are_counted_and_give_the_same_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, who = people(200, 5)
    cosines, same, _ = pairs_of(rows, who)
    monkeypatch.setattr(pairs, "EXACT_PAIRS", 100)
    middle, kind, count = pairs_of(rows, who)
    assert count is not None
    assert (count[kind].sum(), count[~kind].sum()) == (same.sum(), (~same).sum())
    assert np.average(middle[kind], weights=count[kind]) == pytest.approx(cosines[same].mean(), abs=1 / pairs.BINS)
    settings = CalibrationSettings(method="probability", probability=0.7)
    exact = calibrate(settings, [0.0], cosines, same)
    counted = calibrate(settings, [0.0], middle, kind, pair_count=count)
    assert counted.pairs == exact.pairs == 200 * 199 // 2
    assert counted.threshold == pytest.approx(exact.threshold, abs=1e-3)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_memory_does_not_grow_with_the_pairs_of_10_000_images() -> None:
    rows, who = people(10_000, 4)  # 50 million pairs: 200 MB of cosines, 50 MB of flags, 800 MB of indices
    tracemalloc.start()
    found = verification(rows, who)
    _, _, count = pairs_of(rows, who)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count is not None
    assert count.sum() == found.same_pairs + found.other_pairs == 10_000 * 9_999 // 2
    assert found.auc is not None
    assert 0.6 < found.auc < 1
    assert peak < 130 << 20  # 115 MiB, of blocks: flags of all pairs would be too many
