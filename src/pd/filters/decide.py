"""Keep or drop, and why: a function of scores that are already there, so that a new threshold costs no generation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pd.config import FilterSettings

REASONS = ("prompt", "reid", "near_copy", "duplicate")
"""Why a candidate is dropped, in the order in which reasons are given: the first that applies is written."""


@dataclass(frozen=True)
class Thresholds:
    """Likeness, cosine in [-1, 1], from which a candidate is dropped."""

    reid: float
    near_copy: float


def decide(
    scores: Mapping[str, npt.NDArray[Any]], settings: FilterSettings, thresholds: Thresholds
) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Decide on candidates.

    Args:
        scores: `score` and `near_copy`, (N,) float, likeness to the members; `duplicate`, (N,) bool, the pixels of a
            candidate before; `prompt`, (N,) bool, the prompt is one that k people share.
        settings: which checks are on; the prompt's always is.
        thresholds: of the likenesses.

    Returns:
        keep, (N,) bool, and reasons, N strings: '' for what is kept. A likeness that is NaN drops its candidate.
    """
    hits = {
        "prompt": ~scores["prompt"],
        "reid": ~(scores["score"] < thresholds.reid) & settings.reid,
        "near_copy": ~(scores["near_copy"] < thresholds.near_copy) & settings.near_copy,
        "duplicate": scores["duplicate"] & settings.duplicate,
    }
    reasons = np.select([hits[reason] for reason in REASONS], list(REASONS), default="")
    return reasons == "", [str(reason) for reason in reasons]
