"""Copies of members' pictures, altered or not, as an attack; and those that are made again and again.

The detector, `pd.reid.altered_copies`, is the filter's too. It learns no people and so has no side; thresholds are the
audit's own.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pd.audit.attack import Attack, AttackResult, Looked
from pd.audit.extraction import FAR, LEAST, STRANGERS
from pd.audit.impostor_sets import Met
from pd.audit.nearest import Nearest
from pd.audit.reidentification import Reidentification, excess
from pd.dataset.parquet_images import Images
from pd.dataset.private import PrivateDataset
from pd.reid.altered_copies import AlteredCopies

NAME = "altered copies"


def copies_attack(members: PrivateDataset, strangers: PrivateDataset, *, bootstrap: int, seed: int) -> Attack:
    """The attack that looks for copies.

    Args:
        members: the member gallery.
        strangers: hold-out people, at once strangers and control gallery.
        bootstrap: resamples behind each interval.
        seed: of the circles and the resampling.
    """
    ours = AlteredCopies.of(members.images)
    theirs = ours.gallery(strangers.images)

    def look(images: Images) -> Looked:
        none = np.zeros((len(images), 0), np.float32)
        return Looked(none, lambda part: ours.likeness(images[part]), lambda part: theirs.likeness(images[part]))

    return Attack(look, members, strangers, alpha=STRANGERS, bootstrap=bootstrap, seed=seed)


def repeated(attacked: AttackResult, *, bootstrap: int, seed: int) -> Reidentification:
    """Of the copies that an attack found, those that are LEAST or more of one picture, beyond what strangers give."""
    compared, found = attacked.compared, attacked.found
    again = _repeated(compared.to_member.row, found.hits)
    by_chance = _repeated(compared.to_holdout.row, found.false_hits)
    some = replace(
        compared,
        to_member=Nearest(np.where(again, compared.to_member.score, FAR), compared.to_member.row),
        met=Met(np.where(by_chance, compared.met.score, FAR), compared.met.circle),
    )
    return excess(some, alpha=STRANGERS, bootstrap=bootstrap, seed=seed)


def _repeated(row: npt.NDArray[np.int64], hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(N,) which hits share their picture with enough others."""
    count = np.bincount(row[hits], minlength=int(row.max()) + 1)
    return hits & (count[row] >= LEAST)
