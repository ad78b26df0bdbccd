"""Whose pictures play which part in an audit."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pd.audit.reidentification import default_alpha
from pd.audit.results import People, Shared
from pd.config import AuditSettings
from pd.dataset.private import PrivateDataset
from pd.dataset.shared import shared_labels
from pd.seeds import derive


@dataclass(frozen=True)
class Subjects:
    """The people of an audit.

    Attributes:
        real: everybody.
        settings: how many samples, at which stranger rate.
        seed: the run's: the same as the filter's, so that both agree which half of the hold-out people is whose.
    """

    real: PrivateDataset
    settings: AuditSettings
    seed: int

    @cached_property
    def members(self) -> PrivateDataset:
        """The member gallery."""
        return self.real.members()

    @cached_property
    def strangers(self) -> PrivateDataset:
        """Strangers and control gallery: hold-out people whom neither calibration nor attackers have seen."""
        return self.real.holdout_half("audit", self.seed)

    @cached_property
    def learning(self) -> PrivateDataset:
        """The other hold-out people, from whom attackers learn."""
        return self.real.holdout_half("calibration", self.seed)

    @cached_property
    def chosen(self) -> npt.NDArray[np.int64]:
        """Rows of the member images that stand beside an arm's samples, as many as these at most."""
        return np.sort(self._drawn(len(self.members), "members"))

    @cached_property
    def others(self) -> PrivateDataset:
        """Hold-out images, as many as samples at most: how near other people's real pictures come to the members'."""
        held = self.real.holdout()
        mask = np.zeros(len(held), dtype=bool)
        mask[self._drawn(len(held), "others")] = True
        return held.where(mask)

    @property
    def alpha(self) -> float:
        """The stranger rate of the attackers' thresholds."""
        return self.settings.alpha or default_alpha(self.strangers.identities)

    def counts(self) -> People:
        """How many they are."""
        return People(
            members=len(self.members),
            member_identities=len(set(self.members.identities)),
            strangers=len(self.strangers),
            stranger_identities=len(set(self.strangers.identities)),
            attackers_learnt_from=len(self.learning),
        )

    def _drawn(self, images: int, whose: str) -> npt.NDArray[np.int64]:
        chance = np.random.default_rng(derive(self.seed, "audit", whose))
        return chance.permutation(images)[: self.settings.samples]


def shared_of(real: PrivateDataset, k: int) -> Shared:
    """The labels that at least k members carry, so that they may be named."""
    members = real.members()
    return Shared(k=k, labels=shared_labels(members.labels, members.identities, k))
