"""Which samples come closest to members, and to whom: for eyes, so it names pictures and people. For the custodian alone.

The filter had no part in choosing them: what it is blind to, it would rank last among what it kept.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pd.audit.attack import AttackResult
from pd.audit.extraction import nearest_pictures
from pd.audit.nearest import Nearest
from pd.audit.results import Closest
from pd.audit.subjects import Subjects
from pd.dataset.synthetic import SyntheticDataset

PICTURES, PEOPLE = 8, 10


def closest(subjects: Subjects, samples: SyntheticDataset, attacker: str, attacked: AttackResult) -> Closest:
    """The samples most like a member, and the people most at risk.

    Args:
        subjects: the people.
        samples: of the arm.
        attacker: the name of the one that finds most in it.
        attacked: what that one saw of the samples.
    """
    members, seen = subjects.members, attacked.compared.to_member
    return Closest(
        attacker=attacker,
        samples=len(samples),
        by_attacker=_pictures(samples.ids, members.ids, seen),
        by_pixels=_pictures(samples.ids, members.ids, nearest_pictures(samples.images, members.images)),
        people=_people(members.identities, members.ids, seen, attacked.found.hits),
    )


def _pictures(samples: Sequence[str], members: Sequence[str], found: Nearest) -> list[tuple[str, str, float]]:
    order = np.argsort(-found.score, kind="stable")[:PICTURES]
    return [(samples[row], members[found.row[row]], round(float(found.score[row]), 5)) for row in order]


def _people(
    who: Sequence[str], images: Sequence[str], found: Nearest, hits: npt.NDArray[np.bool_]
) -> list[tuple[str, int, float, str]]:
    """Those for whom most samples pass; ties by the most similar."""
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(found.row):
        rows.setdefault(who[image], []).append(row)
    told = []
    for name, own in rows.items():
        best = max(own, key=lambda row: found.score[row])
        told.append((name, int(hits[own].sum()), round(float(found.score[best]), 5), images[found.row[best]]))
    return sorted(told, key=lambda one: (-one[1], -one[2], one[0]))[:PEOPLE]
