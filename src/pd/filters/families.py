"""Families besides recognisers and near copies: spaces learned from calibration people, in which members are looked for.

What a teacher leaks are generated likenesses: they blur and recompose, so that no single recogniser sees all of them (measured
in benchmarks/filter_protects.py). Each space votes by itself, by a threshold of its own.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pd.dataset.images import mirrored
from pd.dataset.parquet_images import Images, blocks, rows_of
from pd.dataset.private import PrivateDataset
from pd.dataset.splits import hash_order
from pd.reid.gallery import Gallery
from pd.reid.spaces.space import Space
from pd.reid.spaces.whitening import Whitening
from pd.seeds import derive

ALTERED = "altered"  # a family without a space: `pd.reid.altered_copies`
EACH = 2  # rows of an image in a gallery: as it is and mirrored, so that a candidate is embedded once


def learn_spaces(kinds: Sequence[str], real: PrivateDataset, seed: int) -> list[Space]:
    """Spaces of these kinds, learned from the calibration half of the hold-out people, in the order of their names.

    Raises:
        UserError: fewer than 4 hold-out people.
    """
    learned = sorted(set(kinds) - {ALTERED})
    if not learned:
        return []
    people = real.holdout_half("calibration", seed)
    return [_learn(kind, people, seed) for kind in learned]


def both_ways(space: Space, images: Images) -> NDArray[np.float32]:
    """(EACH * N, k) gallery rows of (N, H, W, C) uint8: image i's are EACH * i, as it is, and EACH * i + 1, mirrored."""
    turned = [space.embed(mirrored(block)) for _, block in blocks(images)]
    rows = np.stack([space.embed(images), np.concatenate([space.embed(images[:0]), *turned])], axis=1)
    return rows.reshape(EACH * len(images), -1)


def taught_by_others(kind: str, people: PrivateDataset, members: PrivateDataset, seed: int) -> NDArray[np.float32]:
    """(N,) likeness of each image of the calibration people to the members, in a space that the other half of them taught.

    In the space that they taught themselves a tenth of their images lies above a bar that a sixth of other strangers' images
    pass (faces of a hundred people, all kinds): thresholds would be too high, or too low, by as much.

    Args:
        kind: of the space.
        people: calibration people, two at least.
        members: whom they are compared with.
        seed: of the halves.
    """
    order = hash_order(people.identities, seed, "space-half")
    first = np.isin(np.asarray(people.identities, dtype=object), order[: len(order) // 2])
    found = np.empty(len(people), np.float32)
    for rows in (first, ~first):
        space = _learn(kind, people.where(~rows), seed)
        found[rows] = Gallery(both_ways(space, members.images)).nearest(
            space.embed(rows_of(people.images, np.flatnonzero(rows)))
        )[0]
    return found


def among_members(space: Space, members: PrivateDataset, own: Sequence[NDArray[np.bool_]]) -> Iterator[NDArray[np.float32]]:
    """Likeness of each image of some members to the images of all others; the space learned no members.

    Args:
        space: in which they are compared.
        members: all of them.
        own: (M,) bool for each of some members: which images are theirs.
    """
    if not own:
        return
    gallery = Gallery(both_ways(space, members.images))
    for rows in own:
        yield gallery.where(np.repeat(~rows, EACH)).nearest(space.embed(members.images[rows]))[0]


def space_tensors(space: Space) -> dict[str, NDArray[np.float32]]:
    """What `read_space` needs, by name."""
    return {
        f"space/{space.kind}/mean": np.ascontiguousarray(space.whitening.mean),
        f"space/{space.kind}/matrix": np.ascontiguousarray(space.whitening.matrix),
    }


def read_space(kind: str, tensor: Callable[[str], NDArray[np.float32]]) -> Space:
    """A space of this kind from tensors by name. Raises KeyError or SafetensorError where one is missing."""
    return Space(kind, Whitening(tensor(f"space/{kind}/mean"), tensor(f"space/{kind}/matrix")))


def _learn(kind: str, people: PrivateDataset, seed: int) -> Space:
    return Space.learn(kind, people.images, people.identities, seed=derive(seed, "space", kind))
