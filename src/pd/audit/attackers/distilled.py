"""Attackers that see through low resolution, shift and occlusion: students of a teacher that learned clear pictures.

Each learns from people whom neither a generator nor the filter has seen: the calibration people, or those of the section
`public`. It is as large as the default recogniser, and is trained as one (`pd.reid.recipe`).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from pd.config import ReidSettings
from pd.config.recognisers import METHODS, SupconSettings, resolution_of
from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images
from pd.errors import UserError
from pd.reid.embed import embed
from pd.reid.methods.aird import adapted
from pd.reid.network import EmbeddingNetwork, load
from pd.reid.recipe import Pictures, make
from pd.reid.rows import Held
from pd.reid.spaces.whitening import Rows
from pd.reid.task import training_settings
from pd.store.scratch import scratch
from pd.training.loop import fit_here

ADAPTATION = 0.3  # how far aird's statistics move towards those of the set that is looked at; ours
_SIDE = 64  # larger pictures are brought down by the network itself
MOST = 5000  # pictures learned from, the first by a shuffled order; ours


class Distilled:
    """A student that `pd.reid.recipe` makes."""

    name: str
    adaptation = 0.0

    def __init__(self) -> None:
        self._network: EmbeddingNetwork | None = None

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Train teacher and student, `steps` each.

        Raises:
            UserError: fewer than two people.
        """
        if len(set(identities)) < 2:
            raise UserError(
                f"'{self.name}' learns to tell people apart, and {len(set(identities))} are there to learn from",
                code="too-few-people",
                where="audit.attackers",
                fix="hold out more people, or add a section `public`",
            )
        rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:MOST])
        pixels = np.ascontiguousarray(images[rows])
        settings = ReidSettings(steps=steps)
        method = METHODS[self.name]
        assert not isinstance(method, SupconSettings)
        views = tuple(view for view in method.views if (resolution_of(view) or 0) <= min(pixels.shape[1:3]))
        people = Pictures(Held(pixels), [identities[row] for row in rows], "attacker")
        with scratch("pd-attacker-", Path(tempfile.gettempdir())) as work:
            folder = make(
                method.model_copy(update={"views": views}),
                settings,
                people,
                seed,
                lambda task: fit_here(task, training_settings(settings), work),
            )
            self._network = load(folder)

    def embed(self, images: Pixels) -> Rows:
        """(N, d) unit rows."""
        return embed(self._trained, images)

    def of_set(self, images: Images) -> Self:
        """The same attacker, adapted to a set that it is to look at; the whole set, of one source."""
        if not self.adaptation:
            return self
        found = type(self)()
        network = adapted(self._trained, images, self.adaptation)
        assert isinstance(network, EmbeddingNetwork)
        found._network = network
        return found

    @property
    def _trained(self) -> EmbeddingNetwork:
        if self._network is None:
            raise RuntimeError("fit comes before embed")
        return self._network


class Crrcd(Distilled):
    """Sees low resolution."""

    name = "crrcd"


class Aird(Distilled):
    """Sees low resolution, blur, noise and low contrast, and adapts to each set."""

    name = "aird"
    adaptation = ADAPTATION


class G2d(Distilled):
    """Sees people of whom a part is hidden."""

    name = "g2d"
