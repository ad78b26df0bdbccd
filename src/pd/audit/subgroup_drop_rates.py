"""Who pays for the filter: how much of what is made for a label, or in the likeness of a person, is dropped."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, share
from pd.audit.results import ByIdentity

Labels = Mapping[str, npt.NDArray[np.float64]]
Dropped = npt.NDArray[np.bool_]

_MOST_VALUES = 10  # of a label: more are a measurement, not groups


def by_label(dropped: Dropped, labels: Labels, people: Sequence[str] | None = None) -> dict[str, dict[str, Estimate]]:
    """Label -> value -> share dropped of the images that have it; labels of one value, or of many, are left out.

    Args:
        dropped: (N,) bool.
        labels: name -> (N,) float64, NaN where missing.
        people: who is in each; None: nobody knows, images count as independent.
    """
    found: dict[str, dict[str, Estimate]] = {}
    for name, values in sorted(labels.items()):
        present = np.unique(values[np.isfinite(values)])
        if 2 <= len(present) <= _MOST_VALUES:
            found[name] = {f"{value:g}": _share_of(dropped, values == value, people) for value in present.tolist()}
    return found


def by_identity(dropped: Dropped, resembled: Sequence[str], shown: int = 10) -> ByIdentity:
    """Drop rates by the member whom each candidate resembles most.

    Args:
        dropped: (N,) bool.
        resembled: N names.
        shown: how many people to name.
    """
    who = np.asarray(resembled)
    rates = {str(name): share(dropped[who == name]) for name in np.unique(who)}
    # Of equal shares the one that is surer: two of two dropped say less than ninety of ninety.
    order = sorted(rates, key=lambda name: (-rates[name].value, -rates[name].low, name))
    uneven = gini(np.array([rate.value for rate in rates.values()]))
    return ByIdentity(worst=[(name, rates[name]) for name in order[:shown]], gini=uneven)


def gini(values: npt.NDArray[np.float64]) -> float:
    """Gini's coefficient (1912) of (N,) shares: half the mean difference of two, over their mean; 0 where all are 0."""
    ordered = np.sort(values)
    total = float(ordered.sum())
    if total == 0:
        return 0.0
    rank = np.arange(1, len(ordered) + 1)
    return float((2 * rank - len(ordered) - 1) @ ordered / (len(ordered) * total))


def _share_of(dropped: Dropped, rows: npt.NDArray[np.bool_], people: Sequence[str] | None) -> Estimate:
    return share(dropped[rows], None if people is None else [people[row] for row in np.flatnonzero(rows).tolist()])
