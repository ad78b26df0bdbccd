"""How strict the learned spaces must be, read off generated leaks: samples of teachers that memorised calibration people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

QUANTILES = (0.99, 0.975, 0.95, 0.925, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Stranger quantiles that are tried, the loosest first; ours."""
PEOPLE = 40
"""Calibration people below which nothing is read off: two teachers of twenty, ten to learn from, ten strangers; ours."""
FLAT = 0.005
"""What the upper end may lie above the lowest of all, where none reaches the target: less is chance; ours."""


@dataclass(frozen=True)
class Row:
    """What is left of the memorising teachers' samples at one quantile.

    Attributes:
        quantile: share of strangers' pictures that each space passes.
        kept: share of the samples.
        excess, high: excess re-identification of what is kept, by the worst judge, and the highest upper end of all judges.
            None: too few samples were kept.
        judge: the worst.
        specificity: share of strangers' pictures that all spaces together pass.
    """

    quantile: float
    kept: float
    excess: float | None
    high: float | None
    judge: str
    specificity: float

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Self:
        """What `asdict` made."""
        return cls(**value)


@dataclass(frozen=True)
class Chosen:
    """A quantile, and whether it holds what was asked for.

    Attributes:
        quantile: for each learned space.
        reached: whether the excess of what is kept ends below the target there.
        words: for people.
    """

    quantile: float
    reached: bool
    words: str


def choose(rows: Sequence[Row], target: float) -> Chosen | None:
    """The loosest quantile at which the upper end of the excess is at most `target`.

    Where none is: the loosest of those whose upper end is within FLAT of the lowest there is.

    Args:
        rows: by falling quantile.
        target: `filter.target_excess`.

    Returns:
        None where nothing was kept at any quantile.
    """
    ends = [(row, row.high) for row in rows if row.high is not None]
    if not ends:
        return None
    for row, high in ends:
        if high <= target:
            return Chosen(row.quantile, True, f"{_told(row)}: at most {target:g}, as asked")
    lowest = min(high for _, high in ends)
    row = next(row for row, high in ends if high <= lowest + FLAT)
    return Chosen(row.quantile, False, f"no quantile reaches filter.target_excess = {target:g}; the nearest: {_told(row)}")


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For the file that keeps them."""
    return [asdict(row) for row in rows]


def _told(row: Row) -> str:
    return (
        f"quantile {row.quantile:g} keeps {row.kept:.0%} of memorising teachers' samples, whose excess by {row.judge} "
        f"ends at {row.high:.3f}"
    )
