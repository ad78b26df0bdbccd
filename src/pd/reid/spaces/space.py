"""A space in which pictures of one person lie together, learned from people whom no generator has seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import Tensor

from pd.dataset.images import to_tensor
from pd.dataset.parquet_images import Images, blocks
from pd.errors import UserError
from pd.reid.spaces.gradients import gradients
from pd.reid.spaces.imagenet import middle
from pd.reid.spaces.thumbnails import thumbnails
from pd.reid.spaces.views import views
from pd.reid.spaces.whitening import Rows, Whitening

FEATURES: Mapping[str, Callable[[Tensor], Rows]] = {"whitened": thumbnails, "imagenet": middle, "gradients": gradients}
"""What each space projects: (N, 3, H, W) float32 in [-1, 1] -> (N, d) float32. Grey images have three equal channels."""

LONGEST = 128  # px of a side of a view: FEATURES look at 64 px at most; ours
STEPS = 200  # of `views`: at most 2,400 pictures; ours
_BLOCK = 1024
_BYTES = 32 << 20  # of pixels at a time; as float32 they are four times as many
_VIEWS = 256  # at a time


@dataclass(frozen=True, eq=False)
class Space:
    """Features and the projection learned on them.

    Attributes:
        kind: of FEATURES.
        whitening: mutes what changes within a person's pictures.
    """

    kind: str
    whitening: Whitening

    @classmethod
    def learn(cls, kind: str, images: Images, identities: Sequence[str], *, seed: int, steps: int = STEPS) -> Self:
        """Learn the projection from augmented views.

        Args:
            kind: of FEATURES.
            images: (N, H, W, C) uint8, of people whom neither a generator nor the filter's networks learned from.
            identities: N names.
            seed: of the views.
            steps: how many views (see `pd.reid.spaces.views`).

        Raises:
            UserError: there is no image to learn from.
        """
        if not len(images):
            raise UserError(
                f"no image to learn '{kind}' from", code="no-images", where="data.holdout", fix="hold out more people"
            )
        seen = views(images, identities, seed=seed, steps=steps, longest=LONGEST)
        rows = np.concatenate([FEATURES[kind](batch) for batch in seen.batches(_VIEWS)])
        return cls(kind, Whitening.learn(rows, seen.people))

    def embed(self, images: Images) -> Rows:
        """(N, k) float32 rows of unit length of (N, H, W, C) uint8, in memory or in files; an inner product is the likeness."""
        return embed_in([self], images)[0]

    def project(self, features: Rows) -> Rows:
        """(N, k) float32 rows of unit length of (N, d) FEATURES."""
        rows = self.whitening.apply(features)
        # A row without direction (nothing but the mean) has no likeness: it is given the first axis, for rows have length 1.
        rows[np.linalg.norm(rows, axis=1) < 0.5] = np.eye(1, rows.shape[1], dtype=np.float32)
        return rows


def embed_in(spaces: Sequence[Space], images: Images) -> list[Rows]:
    """What `embed` gives in each of several spaces of one kind; features, which take the time, are computed once."""
    (kind,) = {space.kind for space in spaces}
    found = [[np.zeros((0, space.whitening.matrix.shape[1]), np.float32)] for space in spaces]
    for _, block in blocks(images, _BYTES):
        for at in range(0, len(block), _BLOCK):
            features = FEATURES[kind](to_tensor(np.ascontiguousarray(block[at : at + _BLOCK])))
            for space, rows in zip(spaces, found, strict=True):
                rows.append(space.project(features))
    return [np.concatenate(rows) for rows in found]
