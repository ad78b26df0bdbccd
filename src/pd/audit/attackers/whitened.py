"""Thumbnails whose nuisances (light, blur, noise, small moves) have been muted by training."""

from collections.abc import Sequence

import numpy as np

from pd.audit.attackers.base import Rows
from pd.audit.attackers.thumbnails import Thumbnails, thumbnails
from pd.audit.attackers.views import views
from pd.audit.attackers.whitening import Whitening
from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images

_BATCH = 256


class Whitened:
    """Thumbnails in a space learnt from other people. On the faces it beats plain correlation: fewer strangers pass."""

    name = "whitened"

    def __init__(self) -> None:
        self._plain = Thumbnails()
        self._whitening: Whitening | None = None

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Learn the scatter within a person from augmented views."""
        seen = views(images, identities, seed=seed, steps=steps)
        rows = np.concatenate([thumbnails(batch[:, : images.shape[3]]) for batch in seen.batches(_BATCH)])
        self._whitening = Whitening.learn(rows, seen.people)

    def embed(self, images: Pixels) -> Rows:
        """(N, k) unit rows."""
        if self._whitening is None:
            raise RuntimeError("fit comes before embed")
        return self._whitening.apply(self._plain.embed(images))
