"""One attacker against several sets of images: fitted once, the real galleries embedded once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pd.audit.attackers.base import Attacker, Embedded, embedded, similarity
from pd.audit.estimate import number
from pd.audit.impostor_sets import Circles
from pd.audit.nearest import Nearest, Similarity
from pd.audit.power import Power, power
from pd.audit.recognition import COPIES, HARDLY, Recognised, recognition
from pd.audit.reidentification import Comparison, Reidentification, excess, first_held_back
from pd.dataset.mapping import MapRows
from pd.dataset.parquet_images import Images
from pd.dataset.private import PrivateDataset
from pd.reid.spaces.whitening import Rows


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack on a set of images found, and what it saw.

    Attributes:
        found: excess re-identification.
        compared: what that was computed from.
        rows: (N, d) float32, the attacker's unit rows of the images; (N, 0) of an attacker that has none.
    """

    found: Reidentification
    compared: Comparison
    rows: Rows


@dataclass(frozen=True, eq=False)
class Looked:
    """N images as an attacker sees them.

    Attributes:
        rows: (N, d) float32.
        to_members: gives the similarities of a slice of them to all member images, (n, M), as an array of its own.
        to_strangers: the same to the hold-out images, (n, H).
    """

    rows: Rows
    to_members: Callable[[slice], Similarity]
    to_strangers: Callable[[slice], Similarity]


class Attack:
    """An attacker with the galleries it compares with.

    Args:
        look: compares images with both galleries.
        members: the member gallery.
        strangers: images of hold-out people, at once strangers and control gallery.
        alpha: stranger rate.
        bootstrap: resamples behind each interval.
        seed: of the circles, the resampling and what is planted.
        galleries: both, embedded; None of an attacker that has no rows.
    """

    def __init__(
        self,
        look: Callable[[Images], Looked],
        members: PrivateDataset,
        strangers: PrivateDataset,
        *,
        alpha: float,
        bootstrap: int,
        seed: int,
        galleries: tuple[Embedded, Embedded] | None = None,
    ) -> None:
        self._look, self._images = look, members.images
        self._embedded = galleries
        self._member, self._stranger = number(members.identities), number(strangers.identities)
        self._alpha, self._bootstrap, self._seed = alpha, bootstrap, seed
        self._power: dict[tuple[int, int, int], dict[str, Power]] = {}
        self._circles = Circles.of(self._stranger, seed)
        self._seen = look(strangers.images)
        self._stranger_to_member = self._nearest(self._seen, len(self._stranger)).score
        self._stranger_to_others = self._circles.strangers(self._seen.to_strangers)

    @classmethod
    def by(
        cls,
        attacker: Attacker,
        members: PrivateDataset,
        strangers: PrivateDataset,
        *,
        alpha: float,
        bootstrap: int,
        seed: int,
        map_rows: MapRows | None = None,
    ) -> "Attack":
        """By an attacker that is fitted already, on people who are in neither gallery; `map_rows` embeds large galleries."""
        ours, theirs = (Embedded.of(attacker, people.images, map_rows) for people in (members, strangers))

        def look(images: Images) -> Looked:
            rows = embedded(attacker, images)
            return Looked(rows, lambda part: similarity(rows[part], ours), lambda part: similarity(rows[part], theirs))

        return cls(look, members, strangers, alpha=alpha, bootstrap=bootstrap, seed=seed, galleries=(ours, theirs))

    @property
    def members(self) -> Embedded:
        """The member gallery, embedded, of an attacker that embeds."""
        return self._both[0]

    @property
    def strangers(self) -> Embedded:
        """The hold-out gallery, embedded."""
        return self._both[1]

    @property
    def _both(self) -> tuple[Embedded, Embedded]:
        if self._embedded is None:
            raise RuntimeError("this attacker has no rows")
        return self._embedded

    def __call__(self, images: Images) -> AttackResult:
        """Excess re-identification of (N, H, W, C) uint8."""
        seen = self._look(images)
        to_holdout, met = self._circles.samples(seen.to_strangers, len(images))
        compared = Comparison(
            self._nearest(seen, len(images)),
            to_holdout,
            met,
            self._stranger_to_member,
            self._stranger_to_others,
            self._member,
            self._stranger,
        )
        return AttackResult(
            excess(compared, alpha=self._alpha, bootstrap=self._bootstrap, seed=self._seed), compared, seen.rows
        )

    def passing(self, images: Images) -> npt.NDArray[np.bool_]:
        """(N,) which of (N, H, W, C) uint8 pass for a member."""
        order = np.argsort(-self._stranger_to_member, kind="stable")
        bar = self._stranger_to_member[order][first_held_back(np.ones((1, len(order))), self._alpha)[0]]
        passing: npt.NDArray[np.bool_] = self._nearest(self._look(images), len(images)).score > bar
        return passing

    @cached_property
    def recognises(self) -> dict[str, Recognised]:
        """What it recognises of members, by kind of picture: see `pd.audit.recognition`."""
        return recognition(
            self._images,
            self._member,
            lambda images: self._look(images).to_members,
            self._seen.to_members,
            self._stranger,
            alpha=self._alpha,
            seed=self._seed,
        )

    def power(self, samples: int, seed: int, looks: int = 1) -> dict[str, Power]:
        """How large a leak it would have seen in so many samples, by kind of picture, as one of so many attackers."""
        if (samples, seed, looks) not in self._power:
            self._power[samples, seed, looks] = {
                kind: power(
                    found,
                    self._stranger_to_others,
                    self._member,
                    self._stranger,
                    samples=samples,
                    alpha=self._alpha,
                    seed=seed,
                    looks=looks,
                )
                for kind, found in self.recognises.items()
                if kind == COPIES or found.share.value >= HARDLY
            }
        return self._power[samples, seed, looks]

    def _nearest(self, seen: Looked, count: int) -> Nearest:
        return Nearest.in_blocks(seen.to_members, count, len(self._member))
