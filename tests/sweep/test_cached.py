from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cached_candidates import IDENTITY_OF, ROWS

from pd.config import FilterSettings
from pd.errors import UserError
from pd.filters.decide import Thresholds, decide, scores_of
from pd.filters.duplicate import repeated
from pd.sweep.cached import Cached

LIMITS = Thresholds(0.6, 0.7, (0.5, 0.8), {"whitened": 0.9})


def test_a_trial_keeps_what_the_filter_would_keep(generated: list[Path]) -> None:
    cached = Cached.read(generated, IDENTITY_OF)
    table = pa.concat_tables([pq.read_table(file) for file in generated])
    prompt = np.array([text == "a face" for text in table["prompt"].to_pylist()])
    scores = scores_of(table, repeated(table["pixels_sha"].to_pylist()), prompt)
    seen = set()
    for on in product((True, False), repeat=4):
        for vote in ("any", "majority"):
            settings = FilterSettings(
                **dict(zip(("prompt", "reid", "near_copy", "duplicate"), on, strict=True)), vote=vote, near_duplicate=None
            )
            keep, _ = decide(scores, settings, LIMITS)
            np.testing.assert_array_equal(cached.keep(settings, LIMITS, {"a face"}), keep)
            seen.add(int(keep.sum()))
    assert len(seen) > 10


def test_one_network_decides_alone(generated: list[Path], tmp_path: Path) -> None:
    for file in generated:
        pq.write_table(pq.read_table(file).drop_columns(["score_2", "score_3"]), file)
    cached = Cached.read(generated, IDENTITY_OF)
    settings, limits = FilterSettings(prompt=False, near_copy=False, duplicate=False), Thresholds(0.6, 0.7)
    np.testing.assert_array_equal(cached.keep(settings, limits, ()), cached.score < np.float32(0.6))
    assert np.isnan(cached.score).sum() == 1  # is dropped


def test_coverage_and_balance_of_what_is_known(generated: list[Path]) -> None:
    cached = Cached.read(generated, IDENTITY_OF)
    everything = np.ones(ROWS, dtype=bool)
    assert cached.people == 5
    assert cached.coverage(everything) == 4 / 5  # nobody is like eve
    assert cached.coverage(np.arange(ROWS) % 5 == 0) == 1 / 5
    assert cached.coverage(~everything) == 0
    assert cached.balance(everything) == 1
    assert cached.balance(~everything) is None
    # Of those with a beard half are kept, of those without all: the mean is the share of 30 in 60.
    keep = np.array([i % 3 == 1 or i % 6 == 2 for i in range(ROWS)])
    assert cached.kept_share(keep) == 0.5
    assert cached.balance(keep) == pytest.approx(1.0)
    assert cached.balance(np.array([i % 3 == 1 for i in range(ROWS)])) == 0


def test_the_first_rows_are_what_fewer_candidates_would_have_been(generated: list[Path]) -> None:
    cached, fewer = Cached.read(generated, IDENTITY_OF), Cached.read(generated[:2], IDENTITY_OF)
    first = cached.first(40)
    assert len(first) == len(fewer) == 40
    for name in ("score", "further", "near_copy", "duplicate", "person"):
        np.testing.assert_array_equal(getattr(first, name), getattr(fewer, name))
    np.testing.assert_array_equal(first.labels["beard"], fewer.labels["beard"])


def test_files_without_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scored candidates"):
        Cached.read([], {})
    pq.write_table(pa.table({"id": ["x"], "score": [0.1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no column 'near_copy'"):
        Cached.read([tmp_path / "a.parquet"], {})
