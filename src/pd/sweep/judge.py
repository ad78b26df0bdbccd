"""One cheap trial: a point of the search space to its figures, by comparing columns and counting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate
from pd.config import Settings
from pd.filters.calibration import Measurements, find_thresholds
from pd.sweep.cached import Cached, Mask
from pd.sweep.leak import Leak, View, leak
from pd.sweep.trial import Trial
from pd.sweep.usefulness import Usefulness

Views = Mapping[str, Sequence[View]]


@dataclass(frozen=True, eq=False)
class Judge:
    """All that trials are judged by; made once, then only read, by as many workers as there are.

    Attributes:
        settings: of the run.
        measured: what strangers score.
        prompts: k -> the captions that so many people share.
        cached: scores of N candidates.
        seen: (n,) int64, the candidates that attackers looked at.
        views: what they said of these.
        usefulness: what a classifier can learn of these; None where there are no labels.
        seed: of intervals.
    """

    settings: Settings
    measured: Measurements
    prompts: Mapping[int, frozenset[str]]
    cached: Cached
    seen: npt.NDArray[np.int64]
    views: Views
    usefulness: Usefulness | None
    seed: int

    def keep(self, trial: Trial, cached: Cached | None = None) -> Mask:
        """Which of the candidates (of others, if they are named) a trial keeps."""
        settings = trial.apply(self.settings)
        thresholds = find_thresholds(self.measured, settings.reid.calibration, settings.filter)
        return (cached or self.cached).keep(settings.filter, thresholds, self.prompts[trial.prompt_k])

    def __call__(self, trial: Trial) -> dict[str, Any]:
        """A trial's figures, plain JSON values; see `figures_of`."""
        keep = self.keep(trial)
        chosen = keep[self.seen]
        useful = self.usefulness.of_chosen(chosen) if self.usefulness else None
        return figures_of(self.cached, keep, leak(self.views, chosen, self.seed), useful)


def figures_of(cached: Cached, keep: Mask, leaked: Leak | None, useful: Estimate | None) -> dict[str, Any]:
    """The figures that `pd.config.FIGURES` names, and `attacker`, the worst one; None for what could not be measured."""
    excess = leaked.excess if leaked else None
    return {
        "kept": cached.kept_share(keep),
        "coverage": cached.coverage(keep),
        "balance": cached.balance(keep),
        **_spread("excess", excess),
        "attacker": leaked.attacker if leaked else None,
        **_spread("utility", useful),
    }


def _spread(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
