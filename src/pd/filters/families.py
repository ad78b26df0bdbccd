"""Families besides recognisers and near copies: spaces learned from calibration people, in which members are looked for.

What a teacher leaks are generated likenesses: they blur and recompose, so that no single recogniser sees all of them (measured
in benchmarks/filter_protects.py). Each space votes by itself, by a threshold of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pd.dataset.images import Pixels, mirrored
from pd.dataset.private import PrivateDataset
from pd.dataset.splits import hash_order
from pd.reid.gallery import Gallery
from pd.reid.spaces.space import Space, features, taught_rows
from pd.reid.spaces.whitening import Whitening
from pd.seeds import derive

EACH = 2  # rows of an image in a gallery: as it is and mirrored, so that a candidate is embedded once
_BLOCK = 1024  # member images at a time


@dataclass(frozen=True, eq=False)
class Family:
    """A learned space, with what is known of members and strangers in it.

    Attributes:
        space: taught by all calibration people.
        gallery: (EACH * M, k) float32, the members' rows.
        strangers: (N,) float32, likeness of the calibration people's images to the members. In the space that they taught
            themselves a tenth of their images lies above a bar that a sixth of other strangers' images pass (faces of a hundred
            people, all kinds): so each half of them is looked at in a space that the other half taught.
    """

    space: Space
    gallery: NDArray[np.float32]
    strangers: NDArray[np.float32]


def learn_families(kinds: Sequence[str], real: PrivateDataset, seed: int) -> list[Family]:
    """Families of these kinds, learned from the calibration half of the hold-out people, in the order of their names.

    Raises:
        UserError: fewer than 4 hold-out people.
    """
    if not kinds:
        return []
    people, members = real.holdout_half("calibration", seed), real.members()
    return [_learn(kind, people, members, seed) for kind in sorted(set(kinds))]


def _learn(kind: str, people: PrivateDataset, members: PrivateDataset, seed: int) -> Family:
    """Features, which take longest, are computed once for all three spaces."""
    rows, taught_by = taught_rows(kind, people.images, people.identities, seed=derive(seed, "space", kind))
    names = np.unique(np.asarray(people.identities, dtype=str))
    order = hash_order(people.identities, seed, "space-half")
    first = np.isin(names, order[: len(order) // 2])
    of_image = first[np.searchsorted(names, np.asarray(people.identities, dtype=str))]
    whole = Whitening.learn(rows, taught_by)
    halves = [
        (looked_at, _learn_rows(rows[chosen[taught_by]], taught_by[chosen[taught_by]]))
        for looked_at, chosen in ((of_image, ~first), (~of_image, first))
    ]
    seen = features(kind, people.images)
    gallery, found = [], np.full(len(people), -np.inf, np.float32)
    for at in range(0, len(members), _BLOCK):
        images = members.images[at : at + _BLOCK]
        raw = [features(kind, one) for one in (images, mirrored(images))]
        gallery.append(np.stack([whole.apply(one) for one in raw], axis=1).reshape(EACH * len(images), -1))
        for looked_at, whitening in halves:
            known = Gallery(np.concatenate([whitening.apply(one) for one in raw]))
            found[looked_at] = np.maximum(found[looked_at], known.nearest(whitening.apply(seen[looked_at]))[0])
    return Family(Space(kind, whole), np.concatenate(gallery), found)


def _learn_rows(rows: NDArray[np.float32], people: NDArray[np.int64]) -> Whitening:
    return Whitening.learn(rows, np.unique(people, return_inverse=True)[1].astype(np.int64))


def both_ways(space: Space, images: Pixels) -> NDArray[np.float32]:
    """(EACH * N, k) gallery rows of (N, H, W, C) uint8: image i's are EACH * i, as it is, and EACH * i + 1, mirrored."""
    rows = np.stack([space.embed(images), space.embed(mirrored(images))], axis=1)
    return rows.reshape(EACH * len(images), -1)


def among_members(rows: NDArray[np.float32], own: Sequence[NDArray[np.bool_]]) -> Iterator[NDArray[np.float32]]:
    """Likeness of each image of some members to the images of all others; the space learned no members.

    Args:
        rows: (EACH * M, k) float32, the members' gallery.
        own: (M,) bool for each of some members: which images are theirs.
    """
    if not own:
        return
    gallery = Gallery(rows)
    for images in own:
        yield gallery.where(np.repeat(~images, EACH)).nearest(rows[::EACH][images])[0]


def space_tensors(space: Space) -> dict[str, NDArray[np.float32]]:
    """What `read_space` needs, by name."""
    return {
        f"space/{space.kind}/mean": np.ascontiguousarray(space.whitening.mean),
        f"space/{space.kind}/matrix": np.ascontiguousarray(space.whitening.matrix),
    }


def read_space(kind: str, tensor: Callable[[str], NDArray[np.float32]]) -> Space:
    """A space of this kind from tensors by name. Raises KeyError or SafetensorError where one is missing."""
    return Space(kind, Whitening(tensor(f"space/{kind}/mean"), tensor(f"space/{kind}/matrix")))
