"""One attacker against several sets of images: fitted once, the real galleries embedded once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.audit.attackers.base import Attacker, Embedded, embedded, nearest, similarity
from pd.audit.circles import Circles
from pd.audit.estimate import number
from pd.audit.nearest import Similarity
from pd.audit.planted import jittered_parts
from pd.audit.reidentification import Comparison, Reidentification, excess
from pd.dataset.parquet_images import Images
from pd.dataset.private import PrivateDataset
from pd.reid.spaces.whitening import Rows


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack on a set of images found, and what it saw.

    Attributes:
        found: excess re-identification.
        compared: what that was computed from.
        rows: (N, d) float32, the attacker's unit rows of the images.
    """

    found: Reidentification
    compared: Comparison
    rows: Rows


class Attack:
    """An attacker with the galleries it compares with.

    Args:
        attacker: fitted already, on people who are in neither gallery.
        members: the member gallery.
        strangers: images of hold-out people, at once strangers and control gallery.
        alpha: stranger rate.
        bootstrap: resamples behind each interval.
        seed: of the circles and the resampling.

    Attributes:
        members: the member gallery, embedded.
        strangers: the hold-out gallery, embedded.
    """

    def __init__(
        self,
        attacker: Attacker,
        members: PrivateDataset,
        strangers: PrivateDataset,
        *,
        alpha: float,
        bootstrap: int,
        seed: int,
    ) -> None:
        self._attacker, self._images = attacker, members.images
        self.members = Embedded.of(attacker, members.images)
        self.strangers = Embedded.of(attacker, strangers.images)
        self._member, self._stranger = number(members.identities), number(strangers.identities)
        self._alpha, self._bootstrap, self._seed = alpha, bootstrap, seed
        self._circles = Circles.of(self._stranger, seed)
        self._stranger_to_member = nearest(self.strangers.rows, self.members).score
        self._stranger_to_others = self._circles.strangers(self._to_strangers(self.strangers.rows))

    def member_pictures(self) -> npt.NDArray[np.float32]:
        """(L,) similarity of pictures of members to the gallery: each member image without itself, of people who have several.

        Where nobody has, copies of the images, as a generator that remembers would make them: moved, toned, blurred, noisy.
        """
        several = np.bincount(self._member)[self._member] > 1
        if several.any():
            image = np.arange(len(self._member))
            return nearest(self.members.rows, self.members, (image, image)).score[several]
        copies = jittered_parts(self._images, 1, "rgb" if self._images.shape[3] == 3 else "grey", self._seed)
        return nearest(np.concatenate([self._attacker.embed(part) for part in copies]), self.members).score

    def __call__(self, images: Images) -> Attacked:
        """Excess re-identification of (N, H, W, C) uint8, in memory or in files."""
        rows = embedded(self._attacker, images)
        to_holdout, met = self._circles.samples(self._to_strangers(rows), len(rows))
        compared = Comparison(
            nearest(rows, self.members),
            to_holdout,
            met,
            self._stranger_to_member,
            self._stranger_to_others,
            self._member,
            self._stranger,
        )
        return Attacked(excess(compared, alpha=self._alpha, bootstrap=self._bootstrap, seed=self._seed), compared, rows)

    def _to_strangers(self, rows: Rows) -> Callable[[slice], Similarity]:
        return lambda part: similarity(rows[part], self.strangers)
