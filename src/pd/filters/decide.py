"""Keep or drop, and why: a function of scores that are already there, so that a new threshold costs no generation."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pd.config import FilterSettings
from pd.config.base import Family
from pd.filters.duplicate import repeated
from pd.filters.table import FAMILY, families_of, further_of

REASONS = ("prompt", "reid", "near_copy", *get_args(Family), "duplicate")
"""Why a candidate is dropped, in the order in which reasons are given: the first that applies is written."""


Preview = Callable[[pa.Table], dict[str, int]]
"""Says of scored images how often each reason would be given, '' for those kept: `preview` with its settings bound."""


@dataclass(frozen=True)
class Thresholds:
    """Likeness, cosine in [-1, 1], from which a candidate is dropped.

    Attributes:
        reid: the first network's.
        near_copy: the near-copy detector's.
        further: those of the further networks that vote.
        families: learned space -> its threshold; those that vote.
    """

    reid: float
    near_copy: float
    further: tuple[float, ...] = ()
    families: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Thresholds":
        """What `dataclasses.asdict` made, by way of JSON."""
        return cls(**{**found, "further": tuple(found.get("further", ()))})


def reasons_of(thresholds: Thresholds) -> list[str]:
    """The reasons that may be given, in their order: those of the learned spaces that vote, and all others."""
    return [reason for reason in REASONS if reason not in get_args(Family) or reason in thresholds.families]


def scores_of(table: pa.Table, duplicate: npt.NDArray[np.bool_], prompt: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[Any]]:
    """What `decide` wants to know of N scored images: their likenesses, and the two (N,) that a shard alone cannot tell."""
    further = [table[name].to_numpy() for name in further_of(table)]
    return {
        "score": table["score"].to_numpy(),
        "further": np.column_stack([np.empty((len(table), 0), np.float32), *further]),
        "near_copy": table["near_copy"].to_numpy(),
        "duplicate": duplicate,
        "prompt": prompt,
        **{f"{FAMILY}{name}": table[f"{FAMILY}{name}"].to_numpy() for name in families_of(table)},
    }


def decide(
    scores: Mapping[str, npt.NDArray[Any]], settings: FilterSettings, thresholds: Thresholds
) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Decide on candidates.

    Args:
        scores: `score` and `near_copy`, (N,) float, likeness to the members; `further`, (N, K - 1) float, `score` of the
            further ones of K networks; `duplicate`, (N,) bool, the pixels of a
            candidate before; `prompt`, (N,) bool, the prompt is one that k people share; `family.NAME`, (N,) float, likeness
            in each learned space that votes.
        settings: which checks are on.
        thresholds: of the likenesses.

    Returns:
        keep, (N,) bool, and reasons, N strings: '' for what is kept. A likeness that is NaN drops its candidate.
    """
    hits = {
        "prompt": ~scores["prompt"] & settings.prompt,
        "reid": ~(margin(scores["score"], scores["further"], thresholds, settings.vote) < 0) & settings.reid,
        "near_copy": ~(scores["near_copy"] < thresholds.near_copy) & settings.near_copy,
        # What is nearly the same is a duplicate, whether or not those of the same pixels alone are asked for.
        "duplicate": scores["duplicate"] & (settings.duplicate or settings.near_duplicate is not None),
        **{name: ~(scores[f"{FAMILY}{name}"] < limit) for name, limit in thresholds.families.items()},
    }
    given = reasons_of(thresholds)
    reasons = np.select([hits[reason] for reason in given], given, default="")
    return reasons == "", [str(reason) for reason in reasons]


def margin(
    score: npt.NDArray[np.float32], further: npt.NDArray[np.float32], thresholds: Thresholds, vote: Literal["any", "majority"]
) -> npt.NDArray[np.float32]:
    """How far N images lie above what it takes to be re-identified, (N,) float32: those at 0 and above are.

    Each of K networks votes by its own threshold. The margin is the largest of theirs (`any`), or the one that more than
    half of them reach (`majority`). One that is NaN counts as a vote.

    Args:
        score: (N,), the first network's likeness to the members.
        further: (N, K - 1), the others'.
        thresholds: of all of them.
        vote: how many must agree.
    """
    margins = np.column_stack([score, further]).astype(np.float32) - np.array(
        [thresholds.reid, *thresholds.further], np.float32
    )
    votes = 1 if vote == "any" else margins.shape[1] // 2 + 1
    return np.sort(margins, axis=1)[:, -votes]


def preview(table: pa.Table, settings: FilterSettings, thresholds: Thresholds) -> dict[str, int]:
    """Reasons and how often they would be given to scored images by themselves: for who watches while others are made.

    Only repetitions among these images are seen, and prompts are taken to be fit.
    """
    scores = scores_of(table, repeated(table["pixels_sha"].to_pylist()), np.ones(len(table), dtype=bool))
    return dict(Counter(decide(scores, settings, thresholds)[1]))
