"""The members' gallery spread over actors, for members so many that a worker cannot hold them all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pd.errors import UserError
from pd.filters.gallery import MemberGallery, gallery_ids, load_gallery
from pd.filters.scorer import OpensGallery
from pd.reid.sharded import ShardedGallery
from pd.store.kept import at_hand


class _Holder:
    """An actor: a part of the member images, all its galleries."""

    def __init__(self, folder: Path, part: tuple[int, int]) -> None:
        self._members = load_gallery(at_hand(folder), part=part)
        self._galleries: list[Any] = [*self._members.reid, self._members.near_copy, *self._members.families]

    def contents(self) -> tuple[list[str], Any, Any, list[int]]:
        rows = [len(gallery) for gallery in self._galleries]
        return self._members.ids, self._members.detector, self._members.spaces, rows

    def altered(self) -> Any:
        """Whole in every holder."""
        return self._members.altered

    def exact_top_k(self, which: int, queries: NDArray[np.float32], k: int) -> Any:
        return self._galleries[which].exact_top_k(queries, k)

    def any_above(self, which: int, queries: NDArray[np.float32], t: float) -> Any:
        return self._galleries[which].any_above(queries, t)


@dataclass(frozen=True)
class _RemotePart:
    """One gallery of a holder, as `pd.reid.sharded.Part`."""

    holder: Any
    which: int
    rows: int

    def __len__(self) -> int:
        return self.rows

    def exact_top_k(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        import ray

        found: tuple[NDArray[np.float64], NDArray[np.int64]] = ray.get(self.holder.exact_top_k.remote(self.which, queries, k))
        return found

    def any_above(self, queries: NDArray[np.float32], t: float) -> NDArray[np.bool_]:
        import ray

        above: NDArray[np.bool_] = ray.get(self.holder.any_above.remote(self.which, queries, t))
        return above


@dataclass(frozen=True)
class _Held:
    """Handles of the holders, in the order of their parts."""

    holders: tuple[Any, ...]

    def open(self) -> MemberGallery:
        import ray

        contents = ray.get([holder.contents.remote() for holder in self.holders])
        _, detector, spaces, counts = contents[0]
        galleries = [
            ShardedGallery(
                [_RemotePart(holder, which, rows[which]) for holder, (*_, rows) in zip(self.holders, contents, strict=True)]
            )
            for which in range(len(counts))
        ]
        near = len(galleries) - len(spaces) - 1
        ids = [name for names, *_ in contents for name in names]
        altered = ray.get(self.holders[0].altered.remote())
        return MemberGallery(galleries[:near], detector, galleries[near], spaces, galleries[near + 1 :], ids, altered)


@contextmanager
def held_gallery(folder: Path, parts: int) -> Iterator[Path | OpensGallery]:
    """The gallery in so many actors, for as long as the context lasts; with one part the folder, for each worker to read.

    Holders take no CPU of their own: they search while the workers wait for them. One that dies is started again.

    Raises:
        UserError: there are more parts than member images.
    """
    if parts == 1:
        yield folder
        return
    import ray

    if parts > (most := len(gallery_ids(folder))):
        raise UserError(
            f"{parts} parts of {most} member images",
            code="too-large",
            where="generate.gallery_parts",
            fix="set it to 1, or to a few",
        )

    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")(_Holder)
    holders = tuple(actor.remote(folder, (part, parts)) for part in range(parts))
    try:
        yield _Held(holders)
    finally:
        for holder in holders:
            ray.kill(holder)
