"""What makes one trial better than another: constraints, the Pareto set, and the choice."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pd.config import CONSTRAINT, FIGURES

Figures = Mapping[str, Any]
"""A trial's figures by name (`pd.config.FIGURES`); None, or absent, where one could not be measured."""

_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_HARDLY = 1e-9  # what a strict constraint is missed by where the figure is the bound


@dataclass(frozen=True)
class Constraint:
    """`name sign bound`, as in excess_high <= 0.02."""

    name: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """From one of `sweep.constraints`. Raises ValueError for what `pd.config` would have refused."""
        found = CONSTRAINT.fullmatch(text)
        if not found or found[1] not in FIGURES:
            raise ValueError(f"no constraint: {text!r}")
        return cls(found[1], found[2], float(found[3]))

    def missed_by(self, figures: Figures) -> float:
        """How far the figure lies on the wrong side; 0 where the constraint is kept, infinity where nothing was measured."""
        value = figures.get(self.name)
        if value is None:
            return float("inf")
        return 0.0 if _HOLDS[self.sign](value, self.bound) else max(abs(value - self.bound), _HARDLY)

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.bound:g}"


def missed(figures: Figures, constraints: Sequence[Constraint]) -> float:
    """By how much the constraints are missed, added up: all figures are shares, so their distances are of one unit."""
    return sum(one.missed_by(figures) for one in constraints)


def gain(figures: Figures, name: str) -> float:
    """A figure turned so that more is better; NaN where it was not measured."""
    value = figures.get(name)
    if value is None:
        return float("nan")
    return float(value) if FIGURES[name] else -float(value)


def pareto(trials: Sequence[Figures], objectives: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which trials no other one beats: as good in every objective and better in one. (T,) bool.

    Of trials with the same figures the first counts; one without some figure never does.
    """
    points = np.array([[gain(figures, name) for name in objectives] for figures in trials]).reshape(len(trials), -1)
    best: npt.NDArray[np.bool_] = np.isfinite(points).all(axis=1)
    for row in np.flatnonzero(best):
        others = points[best]
        beaten = ((others >= points[row]).all(axis=1) & (others > points[row]).any(axis=1)).any()
        earlier = (points[:row] == points[row]).all(axis=1) & best[:row]
        best[row] = not beaten and not earlier.any()
    return best


@dataclass(frozen=True)
class Choice:
    """The chosen trial.

    Attributes:
        index: among the trials.
        keeps: whether it keeps all constraints.
        words: how it was chosen.
    """

    index: int
    keeps: bool
    words: str


def choose(trials: Sequence[Figures], constraints: Sequence[Constraint], prefer: str, objectives: Sequence[str]) -> Choice:
    """The best trial by `prefer` of those that keep the constraints; where none does, the one that misses them least.

    Where trials are equally good, the objectives decide in their order, then the trial's number.

    Args:
        trials: their figures, at least one.
        constraints: to be kept.
        prefer: a figure.
        objectives: figures.
    """
    misses = [missed(figures, constraints) for figures in trials]
    able = [index for index, miss in enumerate(misses) if miss == 0]

    def rank(index: int) -> tuple[float, ...]:
        gains = (gain(trials[index], name) for name in (prefer, *objectives))
        return (misses[index], *(float("inf") if np.isnan(one) else -one for one in gains), index)

    index = min(able or range(len(trials)), key=rank)
    asked = " and ".join(map(str, constraints)) or "no constraint"
    best = f"{'most' if FIGURES[prefer] else 'least'} {prefer}"
    if able:
        words = f"{len(able)} of {len(trials)} trials keep {asked}; of these, the one with the {best} is chosen"
    else:
        by = f"by {misses[index]:.3g} in all"
        words = f"none of {len(trials)} trials keeps {asked}; the one that misses them least is given ({by})"
    return Choice(index, bool(able), words)


def merit(figures: Figures, constraints: Sequence[Constraint], prefer: str) -> float:
    """One number for searchers: `prefer`, turned so that more is better, less ten for each unit of what is missed."""
    value = gain(figures, prefer) - 10 * missed(figures, constraints)
    return value if np.isfinite(value) else -1e6
