"""Attackers for a search: fitted on one part of the calibration people, judged by strangers of the other, then the reverse.

The people of the final audit are not touched, or the best of two hundred trials would be the best on them by luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pd.audit.attackers.base import Attacker, Embedded, embedded, nearest, similarity
from pd.audit.attackers.choose import attacker, named
from pd.audit.estimate import multiplicities, number
from pd.audit.impostor_sets import Circles
from pd.audit.reidentification import default_alpha
from pd.config import AuditSettings
from pd.dataset.parquet_images import Images
from pd.dataset.private import PrivateDataset
from pd.dataset.splits import hash_order
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.seeds import derive
from pd.sweep.leak import Bars, Ints, Rows, View

# More people than these are resampled in so many bunches, so that what is counted by pairs of them stays small.
_MEMBERS, _STRANGERS = 128, 64


@dataclass(frozen=True, eq=False)
class Fold:
    """An attacker who learned from one part of the people, with strangers from the other.

    Attributes:
        attacker: fitted.
        members: the member gallery.
        strangers: the control gallery.
        circles: whom of these samples meet.
        member: (M,) int64, the bunch of people that each member image belongs to.
        stranger: (H,) int64, the same of the strangers' images.
        main: thresholds against the members.
        control: thresholds against the strangers, in each circle.
        drawn: how often each bunch of members, and of strangers, is drawn: (1 + R, A) and (1 + R, B) float32, ones first.
    """

    attacker: Attacker
    members: Embedded
    strangers: Embedded
    circles: Circles
    member: Ints
    stranger: Ints
    main: Bars
    control: Sequence[Bars]
    drawn: tuple[Rows, Rows]

    def look(self, images: Images) -> View:
        """What this attacker says of (N, H, W, C) uint8."""
        rows = embedded(self.attacker, images)
        to_member = nearest(rows, self.members)
        to_stranger, met = self.circles.samples(lambda part: similarity(rows[part], self.strangers), len(rows))
        group = self.member[to_member.row] * self.drawn[1].shape[1] + self.stranger[to_stranger.row]
        return View.of(group, to_member.score, met, self.main, self.control, self.drawn)


@dataclass(frozen=True, eq=False)
class CrossFit:
    """All attackers, each fitted in two folds.

    Attributes:
        folds: attacker -> its folds.
    """

    folds: dict[str, list[Fold]]

    @classmethod
    def fit(
        cls, real: PrivateDataset, settings: AuditSettings, resamples: int, seed: int, progress: Progress = silent
    ) -> "CrossFit":
        """Fit them.

        Args:
            real: members and hold-out people, of whom the calibration half is used.
            settings: attackers, their steps and the stranger rate.
            resamples: of people, for intervals.
            seed: the run's, which halves the hold-out people.
            progress: called after each fold.

        Raises:
            UserError: fewer than four calibration people, no attacker, or one that is not known.
        """
        if not settings.attackers:
            raise UserError(
                "no attacker", code="bad-options", where="audit.attackers", fix="name at least one; thumbnails is the simplest"
            )
        people, parts = real.holdout_half("calibration", seed), parts_of(real, seed)
        one, two = (people.where([who in part for who in people.identities]) for part in parts)
        names = named(settings.attackers)
        members, folds = real.members(), dict[str, list[Fold]]()
        for name in names:
            for at, (learns, judges) in enumerate(((one, two), (two, one))):
                folds.setdefault(name, []).append(_fold(name, at, members, learns, judges, settings, resamples, seed))
                progress(sum(map(len, folds.values())), 2 * len(names), {"attacker": name})
        return cls(folds)

    def look(self, images: Images) -> dict[str, list[View]]:
        """What each attacker says of (N, H, W, C) uint8, in each fold."""
        return {name: [fold.look(images) for fold in folds] for name, folds in self.folds.items()}


def parts_of(real: PrivateDataset, seed: int) -> tuple[list[str], list[str]]:
    """The calibration people in two parts, drawn by the run's seed.

    Raises:
        UserError: there are fewer than four.
    """
    order = hash_order(real.holdout_half("calibration", seed).identities, seed, "sweep-part")
    if len(order) < 4:
        raise UserError(
            f"{len(order)} calibration people; a search needs four, two to learn from and two strangers",
            code="too-few-people",
            where="data.holdout",
            fix="hold out eight people or more",
        )
    return order[: len(order) // 2], order[len(order) // 2 :]


def words_of(real: PrivateDataset, seed: int) -> str:
    """What is done with whom, for people."""
    one, two = map(len, parts_of(real, seed))
    rest = len(set(real.holdout().identities)) - one - two
    return (
        f"attackers learned from {one} calibration people with {two} others as strangers, then the reverse, averaged; "
        f"the final audit's {rest} people were not looked at"
    )


def _fold(
    name: str,
    at: int,
    members: PrivateDataset,
    learns: PrivateDataset,
    judges: PrivateDataset,
    settings: AuditSettings,
    resamples: int,
    seed: int,
) -> Fold:
    fitted = attacker(name)
    learning = derive(seed, "sweep", "attacker", name)
    fitted.fit(learns.images, learns.identities, seed=learning, steps=settings.attacker_steps)
    known, strange = Embedded.of(fitted, members.images), Embedded.of(fitted, judges.images)
    member, stranger = _bunches(members.identities, _MEMBERS), _bunches(judges.identities, _STRANGERS)
    # The members are the same in every fold and to every attacker, and so are the resamples of them. The strangers of the two
    # folds are different people, drawn independently: their chance averages out.
    drawn = (
        _drawn(member, resamples, derive(seed, "sweep", "members")),
        _drawn(stranger, resamples, derive(seed, "sweep", name, at)),
    )
    alpha = settings.alpha or default_alpha(judges.identities)
    weight = drawn[1][:, stranger].astype(np.float64)
    circles = Circles.of(number(judges.identities), derive(seed, "sweep", "circles"))
    main = Bars.of(nearest(strange.rows, known).score, weight, alpha)
    others = circles.strangers(lambda part: similarity(strange.rows[part], strange))
    control = [Bars.of(scores, weight, alpha) for scores in others]
    return Fold(fitted, known, strange, circles, member, stranger, main, control, drawn)


def _bunches(identities: Sequence[str], most: int) -> Ints:
    """Whose bunch each image belongs to: one's own, unless there are more people than `most`."""
    return number(identities) % most


def _drawn(bunches: Ints, resamples: int, seed: int) -> Rows:
    """(1 + R, K) float32: each bunch once, then how often R resamples draw it."""
    count = int(bunches.max()) + 1
    drawn = multiplicities(count, resamples, np.random.default_rng(seed))
    return np.concatenate([np.ones((1, count)), drawn]).astype(np.float32)
