"""When a student has learned enough: before the filter would drop more of its samples than it drops of strangers' pictures.

What is kept lies around what was cut out, and a student that fits it well fills the hole again (measured in
benchmarks/filter_protects.py). The filter that made the hole sees it being filled. Only calibration people are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.config import FilterSettings
from pd.filters.calibration import Measurements
from pd.filters.decide import Thresholds, decide
from pd.filters.scorer import Scores
from pd.filters.table import FAMILY

Z = 1.959964  # of the normal distribution, for 95 %


@dataclass(frozen=True)
class Look:
    """What the filter would drop of a student's samples at one checkpoint.

    Attributes:
        step: of the training.
        dropped, low, high: share of the samples, and its 95 % interval (Wilson 1927).
    """

    step: int
    dropped: float
    low: float
    high: float


def look(step: int, dropped: npt.NDArray[np.bool_]) -> Look:
    """Of (N,) decisions on independent samples, N at least 1."""
    n, p = len(dropped), float(dropped.mean())
    centre, spread = p + Z**2 / (2 * n), Z * float(np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)))
    return Look(step, p, *(float((centre + sign * spread) / (1 + Z**2 / n)) for sign in (-1, 1)))


def choose(looks: Sequence[Look], strangers: float) -> int:
    """Which of the checkpoints is taken: the last one before the first whose whole interval lies above the strangers' share.

    Args:
        looks: at the checkpoints, in order, at least one.
        strangers: share of strangers' pictures that the filter drops.

    Returns:
        Its index; the first, where already that one lies above.
    """
    above = [one.low > strangers for one in looks]
    return max(above.index(True) - 1, 0) if any(above) else len(looks) - 1


def would_drop(scores: Scores, settings: FilterSettings, thresholds: Thresholds) -> npt.NDArray[np.bool_]:
    """(N,) which images the likenesses would drop: no prompt, no repetition."""
    return _dropped(
        {
            "score": scores.score,
            "further": scores.further,
            "near_copy": scores.near_copy,
            **{f"{FAMILY}{name}": values for name, values in scores.families.items()},
        },
        settings,
        thresholds,
    )


def strangers_dropped(measured: Measurements, settings: FilterSettings, thresholds: Thresholds) -> float:
    """The share of calibration people's pictures that the likenesses drop, each person counting as one."""
    n = len(measured.score)
    scores = {
        "score": measured.score,
        "further": measured.further_score.T.reshape(n, -1),
        "near_copy": measured.near_copy[:n],
        **{f"{FAMILY}{name}": values[:n] for name, values in measured.families.items()},
    }
    dropped, people = _dropped(scores, settings, thresholds), measured.people[:n]
    by_person = np.bincount(people, weights=dropped) / np.maximum(np.bincount(people), 1)
    return float(by_person[np.unique(people)].mean())


def _dropped(scores: dict[str, npt.NDArray[np.float32]], settings: FilterSettings, limits: Thresholds) -> npt.NDArray[np.bool_]:
    n = len(scores["score"])
    repeated = {"duplicate": np.zeros(n, dtype=bool), "prompt": np.ones(n, dtype=bool)}
    return ~decide({**scores, **repeated}, settings, limits)[0]
