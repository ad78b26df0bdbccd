"""Keep or drop, and why: a function of scores that are already there, so that a new threshold costs no generation."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pd.config import FilterSettings
from pd.filters.duplicate import repeated

REASONS = ("prompt", "reid", "near_copy", "duplicate")
"""Why a candidate is dropped, in the order in which reasons are given: the first that applies is written."""


Foretell = Callable[[pa.Table], dict[str, int]]
"""Says of scored images how often each reason would be given, '' for those kept: `foretell` with its settings bound."""


@dataclass(frozen=True)
class Thresholds:
    """Likeness, cosine in [-1, 1], from which a candidate is dropped."""

    reid: float
    near_copy: float


def scores_of(table: pa.Table, duplicate: npt.NDArray[np.bool_], prompt: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[Any]]:
    """What `decide` wants to know of N scored images: their likenesses, and the two (N,) that a shard alone cannot tell."""
    return {
        "score": table["score"].to_numpy(),
        "near_copy": table["near_copy"].to_numpy(),
        "duplicate": duplicate,
        "prompt": prompt,
    }


def decide(
    scores: Mapping[str, npt.NDArray[Any]], settings: FilterSettings, thresholds: Thresholds
) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Decide on candidates.

    Args:
        scores: `score` and `near_copy`, (N,) float, likeness to the members; `duplicate`, (N,) bool, the pixels of a
            candidate before; `prompt`, (N,) bool, the prompt is one that k people share.
        settings: which checks are on.
        thresholds: of the likenesses.

    Returns:
        keep, (N,) bool, and reasons, N strings: '' for what is kept. A likeness that is NaN drops its candidate.
    """
    hits = {
        "prompt": ~scores["prompt"] & settings.prompt,
        "reid": ~(scores["score"] < thresholds.reid) & settings.reid,
        "near_copy": ~(scores["near_copy"] < thresholds.near_copy) & settings.near_copy,
        "duplicate": scores["duplicate"] & settings.duplicate,
    }
    reasons = np.select([hits[reason] for reason in REASONS], list(REASONS), default="")
    return reasons == "", [str(reason) for reason in reasons]


def foretell(table: pa.Table, settings: FilterSettings, thresholds: Thresholds) -> dict[str, int]:
    """Reasons and how often they would be given to scored images by themselves: for who watches while others are made.

    Only repetitions among these images are seen, and prompts are taken to be fit.
    """
    scores = scores_of(table, repeated(table["pixels_sha"].to_pylist()), np.ones(len(table), dtype=bool))
    return dict(Counter(decide(scores, settings, thresholds)[1]))
