"""What the filter's detectors say of images that are not in the gallery, as a function for the mapper."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pd.config import digest_of
from pd.dataset.mapping import MakeRows, OfImages, array_of, columns
from pd.dataset.parquet_images import Images, images_digest
from pd.filters.scorer import Scorer, scorer_digest
from pd.reid.embed import embed

_BATCH = 256


@dataclass(frozen=True, eq=False)
class ScoredRows(OfImages):
    """What the filter's detectors say of images that are not in the gallery, and each network's rows of them.

    Args:
        folder: holds the networks and the gallery.
        images: (N, H, W, C) uint8, in memory or in files.
    """

    folder: Path
    images: Images

    batch = _BATCH

    @cached_property
    def key(self) -> str:
        return digest_of([scorer_digest(self.folder, self.folder), images_digest(self.images)])

    def open(self, device: str) -> MakeRows:
        scorer = Scorer(self.folder, self.folder, device)

        def make(rows: range) -> pa.Table:
            images = self.images[rows.start : rows.stop]
            found = scorer.score(images)
            arrays: dict[str, NDArray[Any]] = {"score": found.score, "near_copy": found.near_copy}
            arrays |= {f"further/{k}": values for k, values in enumerate(found.further.T)}
            arrays |= {f"reid/{k}": embed(network, images) for k, network in enumerate(scorer.networks)}
            return columns(arrays)

        return make


def further_of(table: pa.Table) -> NDArray[np.float32]:
    """(K - 1, N) likeness by each further network, of rows of `ScoredRows`."""
    names = [name for name in table.column_names if name.startswith("further/")]
    return np.array([array_of(table, name) for name in names], np.float32).reshape(len(names), len(table))


def rows_by_network(table: pa.Table) -> list[NDArray[np.float32]]:
    """Each network's (N, d) rows, of rows of `ScoredRows`."""
    return [array_of(table, f"reid/{k}") for k in range(sum(name.startswith("reid/") for name in table.column_names))]
