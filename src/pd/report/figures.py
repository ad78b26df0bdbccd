"""Geometry of the report's plots; the templates draw them as inline SVG in the page's own colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bin:
    """One interval of likeness; shares are of each group's own size."""

    low: float
    high: float
    kept: int
    dropped: int
    strangers: int
    members: int
    kept_share: float
    dropped_share: float
    strangers_share: float
    members_share: float


@dataclass(frozen=True)
class Histogram:
    """Likeness of candidates, strangers and members on common bins.

    Attributes:
        bins: from low to high likeness.
        top: the highest share to draw.
        totals: group -> how many finite scores it has.
        unscored: candidates without a finite score.
    """

    bins: list[Bin]
    threshold: float
    top: float
    totals: dict[str, int]
    unscored: int

    @property
    def low(self) -> float:
        return self.bins[0].low

    @property
    def high(self) -> float:
        return self.bins[-1].high


def histogram(
    scores: Floats, keep: npt.NDArray[np.bool_], strangers: Floats, members: Floats, threshold: float, bins: int = 40
) -> Histogram | None:
    """Count scores into common bins, one edge of which is the threshold; None when no score is finite.

    Args:
        scores: (N,) candidates' likeness to the nearest member image.
        keep: (N,) bool.
        strangers: (S,) hold-out images' likeness.
        members: (M,) member images' likeness to other images of members.
        threshold: the filter's.
        bins: about how many.
    """
    groups = {"kept": scores[keep], "dropped": scores[~keep], "strangers": strangers, "members": members}
    groups = {name: np.asarray(values, np.float64) for name, values in groups.items()}
    groups = {name: values[np.isfinite(values)] for name, values in groups.items()}
    values = np.concatenate(list(groups.values()))
    if not len(values):
        return None
    low, high = min(float(values.min()), threshold), max(float(values.max()), threshold)
    width = max(high - low, 1e-3) / bins
    # the threshold is an edge, so that no bar stands on both sides of it
    below, above = int(np.ceil((threshold - low) / width - 1e-9)), int(np.floor((high - threshold) / width)) + 1
    edges = threshold + width * np.arange(-max(below, 1), above + 1)
    # Clipped: by rounding, the outermost edge may lie a hair inside the outermost score.
    counts = {name: np.histogram(group.clip(edges[0], edges[-1]), edges)[0] for name, group in groups.items()}
    candidates = max(len(groups["kept"]) + len(groups["dropped"]), 1)
    sizes = {"kept": candidates, "dropped": candidates}
    share = {name: counts[name] / sizes.get(name, max(len(groups[name]), 1)) for name in groups}
    rows = [
        Bin(
            float(edges[i]),
            float(edges[i + 1]),
            *(int(counts[name][i]) for name in groups),
            *(float(share[name][i]) for name in groups),
        )
        for i in range(len(edges) - 1)
    ]
    stacked = share["kept"] + share["dropped"]
    top = float(max(stacked.max(), share["strangers"].max(), share["members"].max()))
    totals = {name: len(group) for name, group in groups.items()} | {"candidates": len(scores)}
    return Histogram(rows, threshold, top, totals, int((~np.isfinite(scores)).sum()))


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between low and high, about `wanted` of them."""
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span / wanted))
    step = next(float(power * m) for m in (1, 2, 5, 10) if span / (power * m) <= wanted)
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [round(i * step, 10) for i in range(first, last + 1)]


def steps_path(shares: Sequence[float], left: float, width: float, bottom: float, height: float, top: float) -> str:
    """SVG path of a step outline over equal bins; coordinates in user units."""
    each = width / len(shares)
    parts = [f"M{left:.1f} {bottom:.1f}"]
    for i, share in enumerate(shares):
        y = bottom - height * share / top
        parts.append(f"V{y:.1f}H{left + (i + 1) * each:.1f}")
    return "".join([*parts, f"V{bottom:.1f}"])
