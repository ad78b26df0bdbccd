"""What an attacker recognises at all: copies of members' pictures, and other pictures of the same people.

Both are told apart, because an attacker may find every copy and hardly anybody by another picture. Neither depends on the
samples that are audited. Other pictures are members' own, held back: half of each person's pictures make a gallery, the
others are looked for in it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, share
from pd.audit.nearest import Similarity, in_blocks
from pd.audit.planted import jittered
from pd.audit.reidentification import first_held_back
from pd.dataset.parquet_images import Images

COPIES, OTHER_PICTURES = "copies", "other_pictures"
HARDLY = 0.5  # of members' other pictures: who recognises fewer sees copies alone reliably; ours
MOST = 300  # pictures looked for, of each kind; ours

Ints = npt.NDArray[np.int64]
Looks = Callable[[Images], Callable[[slice], Similarity]]
"""Images -> the rows of a slice of them against all member images, (n, M)."""


@dataclass(frozen=True, eq=False)
class Recognised:
    """What an attacker recognises of one kind of picture.

    Attributes:
        share: of the pictures that pass for a member, at the attacker's stranger rate.
        scores: (L,) float32, each picture's likeness to the gallery.
        strangers: (H,) float32, that of hold-out people's pictures to the same gallery.
    """

    share: Estimate
    scores: npt.NDArray[np.float32]
    strangers: npt.NDArray[np.float32]


def recognition(
    members: Images, who: Ints, look: Looks, strangers: Callable[[slice], Similarity], of: Ints, *, alpha: float, seed: int
) -> dict[str, Recognised]:
    """What is recognised of copies, and of other pictures where anybody has two.

    Args:
        members: (M, H, W, C) uint8, the gallery.
        who: (M,) who is in each, 0..K-1.
        look: compares pictures with the gallery.
        strangers: gives the rows of a slice of the hold-out images against the gallery, (n, M).
        of: (H,) who is in each hold-out image.
        alpha: share of strangers that may pass.
        seed: of the choice of pictures and of what is done to copies.
    """
    chance = np.random.default_rng(seed)
    chosen = np.sort(chance.permutation(len(members))[:MOST])
    copies = jittered(members[chosen], 1, "rgb" if members.shape[3] == 3 else "grey", seed)
    everything = np.ones(len(members), bool)
    found = {COPIES: _recognised(look(copies), who[chosen], everything, strangers, of, alpha)}
    held = _second_halves(who, chance)
    probes = np.flatnonzero(held)
    if len(probes):
        probes = np.sort(chance.permutation(probes)[:MOST])
        found[OTHER_PICTURES] = _recognised(look(members[probes]), who[probes], ~held, strangers, of, alpha)
    return found


def _second_halves(who: Ints, chance: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(M,) half of the images of each person who has two or more."""
    held = np.zeros(len(who), bool)
    for person in range(int(who.max()) + 1):
        own = np.flatnonzero(who == person)
        held[chance.permutation(own)[: len(own) // 2]] = True
    return held


def _recognised(
    like: Callable[[slice], Similarity],
    who: Ints,
    gallery: npt.NDArray[np.bool_],
    strangers: Callable[[slice], Similarity],
    of: Ints,
    alpha: float,
) -> Recognised:
    """Of pictures of `who`, compared with the part of the gallery that is true."""

    def nearest(similar: Callable[[slice], Similarity], count: int) -> npt.NDArray[np.float32]:
        parts = in_blocks(similar, count, len(gallery), lambda _, block: block[:, gallery].max(axis=1))
        return np.concatenate(parts)

    scores, others = nearest(like, len(who)), nearest(strangers, len(of))
    order = np.argsort(-others, kind="stable")
    bar = others[order][first_held_back(np.ones((1, len(others))), alpha)[0]]
    return Recognised(share(scores > bar, who.astype(str).tolist()), scores, others)
