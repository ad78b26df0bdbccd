"""Cached candidates of a small run, in files and as arrays."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cached_candidates import NEAREST, ROWS

from pd.filters.duplicate import SKETCH
from pd.filters.scorer import Scores
from pd.filters.table import scored_table


@pytest.fixture
def generated(tmp_path: Path) -> list[Path]:
    """Three shards of twenty candidates with three networks' scores; the last one repeats the first."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (ROWS, 8, 8, 1), dtype=np.uint8)
    images[-1] = images[0]
    score, near, further = rng.random(ROWS), rng.random(ROWS), rng.random((ROWS, 2))
    score[5] = np.nan
    sketch = rng.integers(-127, 128, (ROWS, SKETCH), dtype=np.int8)
    files = []
    for shard in range(3):
        rows = slice(20 * shard, 20 * shard + 20)
        one, two, three = (array[rows].astype(np.float32) for array in (score, near, further))
        scores = Scores(one, NEAREST[rows], two, NEAREST[rows], three, sketch[rows], {"whitened": two[::-1]})
        files.append(tmp_path / f"part-{shard:05d}.parquet")
        table = scored_table(
            [f"{i:09d}" for i in range(ROWS)[rows]],
            images[rows],
            scores,
            seed=5,
            prompts=["a face" if i % 3 else "a rare face" for i in range(ROWS)[rows]],
            labels={"beard": [(None, 0.0, 1.0)[i % 3] for i in range(ROWS)[rows]]},
        )
        pq.write_table(table, files[-1])
    return files
