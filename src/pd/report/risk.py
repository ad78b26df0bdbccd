"""Identities most at risk: of whom the teacher gives away most, and to whom the released data come closest."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pd.report.data import Candidates


@dataclass(frozen=True)
class Risk:
    """One person.

    Attributes:
        identity: who it is. Private.
        candidates: how many candidates are nearest to a picture of this person.
        taken: how many of these reach the threshold: the teacher's leak.
        kept: how many of these were kept.
        closest: the likeness of the closest kept one; None when none was kept.
        image: id of the real picture that most candidates are nearest to.
    """

    identity: str
    candidates: int
    taken: int
    kept: int
    closest: float | None
    image: str


def at_risk(candidates: Candidates, identity_of: Mapping[str, str], threshold: float) -> list[Risk]:
    """Everybody some candidate is nearest to, most candidates at or above the threshold first; ties by the closest kept one.

    Args:
        candidates: with scores; those without a finite one are left out.
        identity_of: id of a real image -> who is in it.
        threshold: the filter's.
    """
    known = [row for row, name in enumerate(candidates.nearest) if name in identity_of and np.isfinite(candidates.scores[row])]
    rows: dict[str, list[int]] = {}
    for row in known:
        rows.setdefault(identity_of[candidates.nearest[row]], []).append(row)
    found = []
    for identity, own in rows.items():
        scores, keep = candidates.scores[own], candidates.keep[own]
        images, counts = np.unique([candidates.nearest[row] for row in own], return_counts=True)
        closest = float(scores[keep].max()) if keep.any() else None
        taken = int((scores >= threshold).sum())
        found.append(Risk(identity, len(own), taken, int(keep.sum()), closest, str(images[counts.argmax()])))
    return sorted(found, key=lambda one: (-one.taken, -(one.closest or -1.0), one.identity))


def concentration(risks: list[Risk]) -> tuple[int, int] | None:
    """(fewest people who make up half of all taken candidates, people with any); None when nobody was taken."""
    taken = sorted((one.taken for one in risks if one.taken), reverse=True)
    if not taken:
        return None
    return int(np.searchsorted(np.cumsum(taken), sum(taken) / 2)) + 1, len(taken)
