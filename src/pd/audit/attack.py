"""One attacker against several sets of images: fitted once, the real galleries embedded once."""

from collections.abc import Sequence

from pd.audit.attackers.base import Attacker, Embedded, similarity
from pd.audit.reidentification import Reidentification, excess_reidentification
from pd.dataset.images import Pixels
from pd.dataset.private import PrivateDataset


class Attack:
    """An attacker with the galleries it compares with.

    Args:
        attacker: fitted already, on people who are in neither gallery.
        members: the member gallery.
        strangers: images of hold-out people, at once strangers and control gallery.
        alpha: stranger rate.
        bootstrap: resamples behind each interval.
        seed: of the resampling.
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
        self._attacker = attacker
        self._members = Embedded.of(attacker, members.images)
        self._strangers = Embedded.of(attacker, strangers.images)
        self._who: tuple[Sequence[str], Sequence[str]] = (members.identities, strangers.identities)
        self._alpha, self._bootstrap, self._seed = alpha, bootstrap, seed
        self._stranger_to_member = similarity(self._strangers.rows, self._members)
        self._holdout_to_holdout = similarity(self._strangers.rows, self._strangers)

    def __call__(self, images: Pixels) -> Reidentification:
        """Excess re-identification of (N, H, W, C) uint8."""
        rows = self._attacker.embed(images)
        return excess_reidentification(
            similarity(rows, self._members),
            similarity(rows, self._strangers),
            self._stranger_to_member,
            self._holdout_to_holdout,
            *self._who,
            alpha=self._alpha,
            bootstrap=self._bootstrap,
            seed=self._seed,
        )
