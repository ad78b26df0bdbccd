"""Families besides recognisers and near copies: spaces learned from calibration people, in which members are looked for.

What a teacher leaks are generated likenesses: they blur and recompose, so that no single recogniser sees all of them (measured
in benchmarks/filter_protects.py). Each space votes by itself, by a threshold of its own.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pd.dataset.mapping import MapRows, array_of, map_here
from pd.dataset.parquet_images import rows_of
from pd.dataset.private import PrivateDataset
from pd.dataset.splits import hash_order
from pd.filters.space_rows import EACH, Lesson, SpaceLessons, SpaceRows, spaces_of, unfolded
from pd.reid.gallery import Gallery
from pd.reid.spaces.space import Space
from pd.reid.spaces.whitening import Whitening
from pd.seeds import derive

ALTERED = "altered"  # a family without a space: `pd.reid.altered_copies`


def learn_spaces(kinds: Sequence[str], real: PrivateDataset, seed: int, map_rows: MapRows = map_here) -> list[Space]:
    """Spaces of these kinds, learned from the calibration half of the hold-out people, in the order of their names.

    Raises:
        UserError: fewer than 4 hold-out people.
    """
    learned = sorted(set(kinds) - {ALTERED})
    if not learned:
        return []
    people = real.holdout_half("calibration", seed)
    return _taught([_lesson(kind, people, seed) for kind in learned], map_rows)


def taught_by_others(
    kinds: Sequence[str], people: PrivateDataset, members: PrivateDataset, seed: int, map_rows: MapRows = map_here
) -> dict[str, NDArray[np.float32]]:
    """By kind of space, the (N,) likeness of each image of calibration people to the members; the other half taught the space.

    In the space that they taught themselves a tenth of their images lies above a bar that a sixth of other strangers' images
    pass (faces of a hundred people, all kinds): thresholds would be too high, or too low, by as much.

    Args:
        kinds: of the spaces.
        people: calibration people, two at least.
        members: whom they are compared with.
        seed: of the halves.
        map_rows: learns the spaces and computes rows; by default this process.
    """
    order = hash_order(people.identities, seed, "space-half")
    first = np.isin(np.asarray(people.identities, dtype=object), order[: len(order) // 2])
    halves = (first, ~first)
    spaces = _taught([_lesson(kind, people.where(~rows), seed) for kind in kinds for rows in halves], map_rows)
    likeness: dict[str, NDArray[np.float32]] = {}
    for at, kind in enumerate(kinds):
        pair = spaces[2 * at : 2 * at + 2]
        known, asked = SpaceRows(pair, members.images, both=True), SpaceRows(pair, people.images, both=False)
        table, theirs = map_rows(known, f"compared-{known.key}"), map_rows(asked, f"compared-{asked.key}")
        found = likeness[kind] = np.empty(len(people), np.float32)
        for half, rows in enumerate(halves):
            gallery = Gallery(unfolded(array_of(table, str(half)), EACH))
            found[rows] = gallery.nearest(array_of(theirs, str(half))[rows])[0]
    return likeness


def among_members(
    space: Space, gallery: Gallery, members: PrivateDataset, own: Sequence[NDArray[np.bool_]]
) -> Iterator[NDArray[np.float32]]:
    """Likeness of each image of some members to the images of all others; the space learned no members.

    Args:
        space: in which they are compared.
        gallery: of the members in this space, EACH rows an image.
        members: all of them.
        own: (M,) bool for each of some members: which images are theirs.
    """
    for rows in own:
        images = rows_of(members.images, np.flatnonzero(rows))
        yield gallery.where(np.repeat(~rows, EACH)).nearest(space.embed(images))[0]


def space_tensors(space: Space) -> dict[str, NDArray[np.float32]]:
    """What `read_space` needs, by name."""
    return {
        f"space/{space.kind}/mean": np.ascontiguousarray(space.whitening.mean),
        f"space/{space.kind}/matrix": np.ascontiguousarray(space.whitening.matrix),
    }


def read_space(kind: str, tensor: Callable[[str], NDArray[np.float32]]) -> Space:
    """A space of this kind from tensors by name. Raises KeyError or SafetensorError where one is missing."""
    return Space(kind, Whitening(tensor(f"space/{kind}/mean"), tensor(f"space/{kind}/matrix")))


def _lesson(kind: str, people: PrivateDataset, seed: int) -> Lesson:
    return Lesson(kind, people.images, people.identities, derive(seed, "space", kind))


def _taught(lessons: Sequence[Lesson], map_rows: MapRows) -> list[Space]:
    if not lessons:
        return []
    function = SpaceLessons(lessons)
    return spaces_of(map_rows(function, f"spaces-{function.key}"))
