"""Excess re-identification: how much oftener a model's samples look like its members than like strangers.

Definitions: methods, *What the audit measures*. A threshold per gallery, because a maximum grows with gallery size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, Floats, from_draws, multiplicities, number

Similarity = npt.NDArray[np.float32]

_ROWS = 128  # resamples at a time: bounds memory to a few (128, N) arrays


@dataclass(frozen=True)
class Reidentification:
    """One attacker's verdict on one set of samples.

    Attributes:
        main: share of samples that pass for a member at the stranger rate alpha.
        control: share that pass for a hold-out person, who cannot have been learnt.
        excess: main less control.
        people_hit: how many members are the nearest match of a sample counted in `main`.
        draws: (B,) resampled excess. Equal seeds, people and B resample the people alike, so that ratios and
            differences of two sets' draws are paired.
    """

    main: Estimate
    control: Estimate
    excess: Estimate
    people_hit: int
    draws: Floats = field(repr=False, compare=False)


def default_alpha(strangers: int) -> float:
    """The stranger rate that so many strangers can resolve: 1 % from 500 on, else 5 %."""
    return 0.01 if strangers >= 500 else 0.05


def excess_reidentification(
    sample_to_member: Similarity,
    sample_to_holdout: Similarity,
    stranger_to_member: Similarity,
    holdout_to_holdout: Similarity,
    member_identities: Sequence[str],
    holdout_identities: Sequence[str],
    *,
    alpha: float,
    bootstrap: int,
    seed: int,
) -> Reidentification:
    """Main, control and excess rate with bootstrap intervals over samples and identities.

    Each resample draws member identities and hold-out identities with replacement. The strangers come with theirs, so
    both thresholds are found anew; a sample counts as often as its nearest member and its nearest hold-out person were
    drawn (the product of weights of Owen's pigeonhole bootstrap, 2007), because samples that resemble one person are
    not independent; then N samples are drawn from those. The galleries stay whole: to thin them would lower the main
    rate of a model that copies everybody.

    With K hold-out identities a stranger meets K - 1 and a sample K of them, so the control rate of unrelated samples
    is about alpha * K / (K - 1): the excess leans to below 0, by 0.006 at alpha 0.05 and K = 10.

    Args:
        sample_to_member: (N, M) similarity, larger is more alike.
        sample_to_holdout: (N, H).
        stranger_to_member: (H, M), the hold-out images against the member gallery.
        holdout_to_holdout: (H, H), rows are queries; entries of equal identity are not read.
        member_identities: M names.
        holdout_identities: H names, at least two different ones.
        alpha: share of strangers that may pass, in (0, 1).
        bootstrap: resamples.
        seed: of the resampling.
    """
    matrices = (sample_to_member, sample_to_holdout, stranger_to_member, holdout_to_holdout)
    _check(*matrices, len(member_identities), len(holdout_identities))
    member, holdout = number(member_identities), number(holdout_identities)
    if holdout.max() == 0:
        raise ValueError("a threshold needs at least two hold-out identities")
    foreign = np.where(holdout[:, None] == holdout[None], -np.inf, holdout_to_holdout).max(axis=1)
    to_member = _Side(sample_to_member, member, stranger_to_member.max(axis=1), holdout)
    to_holdout = _Side(sample_to_holdout, holdout, foreign, holdout)

    once = np.ones((1, holdout.max() + 1))
    hit = to_member.scores > to_member.bars(once, alpha)
    false = to_holdout.scores > to_holdout.bars(once, alpha)
    main, control = float(hit.mean()), float(false.mean())

    rng = np.random.default_rng(seed)
    drawn_members = multiplicities(int(member.max()) + 1, bootstrap, rng)
    drawn_holdout = multiplicities(int(holdout.max()) + 1, bootstrap, rng)
    draws = np.concatenate(
        [
            _resample(to_member, to_holdout, drawn_members[b : b + _ROWS], drawn_holdout[b : b + _ROWS], alpha, rng)
            for b in range(0, bootstrap, _ROWS)
        ]
    )
    n = len(sample_to_member)
    return Reidentification(
        main=from_draws(main, draws[:, 0], n),
        control=from_draws(control, draws[:, 1], n),
        excess=from_draws(main - control, draws[:, 0] - draws[:, 1], n),
        people_hit=len(np.unique(to_member.nearest[hit[0]])),
        draws=draws[:, 0] - draws[:, 1],
    )


class _Side:
    """Samples against one gallery, with the strangers that set its threshold."""

    def __init__(
        self, similarity: Similarity, gallery: npt.NDArray[np.int64], stranger: Similarity, who: npt.NDArray[np.int64]
    ) -> None:
        self.scores = similarity.max(axis=1)  # (N,)
        self.nearest = gallery[similarity.argmax(axis=1)]  # (N,) identity of the nearest gallery image
        order = np.argsort(-stranger, kind="stable")
        self._falling = stranger[order]  # (H,) strangers' scores, largest first
        self._who = who[order]

    def bars(self, drawn: Floats, alpha: float) -> Similarity:
        """(B, 1) the largest stranger score that is not let through: at most a share alpha of strangers exceeds it.

        A sample passes when its score is *above*, i.e. at or above the next larger number, which is methods' t.

        Args:
            drawn: (B, identities) multiplicities of the strangers' identities.
            alpha: the share.
        """
        weight = drawn[:, self._who]
        share = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
        let_through = (share <= alpha + 1e-9).sum(axis=1)
        # Strangers of weight 0 at the end of the let-through run do not matter: the bar is the first that weighs.
        bars: Similarity = self._falling[np.minimum(let_through, len(self._falling) - 1)]
        return bars[:, None]


def _resample(
    to_member: _Side, to_holdout: _Side, members: Floats, holdout: Floats, alpha: float, rng: np.random.Generator
) -> Floats:
    """(B, 2) main and control rate of B resamples."""
    n = len(to_member.scores)
    weight = members[:, to_member.nearest] * holdout[:, to_holdout.nearest]
    total = weight.sum(axis=1, keepdims=True)
    # A resample that drew none of the people whom samples resemble says nothing of identities: it weighs samples alike.
    weight = np.where(total > 0, weight, 1.0)
    weight /= weight.sum(axis=1, keepdims=True)
    hit = to_member.scores > to_member.bars(holdout, alpha)
    false = to_holdout.scores > to_holdout.bars(holdout, alpha)
    both = (weight * (hit & false)).sum(axis=1)
    only_main = (weight * hit).sum(axis=1) - both
    only_control = (weight * false).sum(axis=1) - both
    # N samples drawn from the weighted ones: only how many fall in each of the four cells matters.
    cells = np.clip(np.stack([both, only_main, only_control, 1 - both - only_main - only_control], axis=1), 0.0, 1.0)
    counts = rng.multinomial(n, cells / cells.sum(axis=1, keepdims=True)) / n
    return np.stack([counts[:, 0] + counts[:, 1], counts[:, 0] + counts[:, 2]], axis=1)


def _check(
    sample_to_member: Similarity,
    sample_to_holdout: Similarity,
    stranger_to_member: Similarity,
    holdout_to_holdout: Similarity,
    members: int,
    strangers: int,
) -> None:
    n = len(sample_to_member)
    wanted = {
        "sample_to_member": (sample_to_member, (n, members)),
        "sample_to_holdout": (sample_to_holdout, (n, strangers)),
        "stranger_to_member": (stranger_to_member, (strangers, members)),
        "holdout_to_holdout": (holdout_to_holdout, (strangers, strangers)),
    }
    for name, (matrix, shape) in wanted.items():
        if matrix.shape != shape or 0 in shape:
            raise ValueError(f"{name}: expected {shape}, none of them 0, got {matrix.shape}")
        if not np.isfinite(matrix).all():
            raise ValueError(f"{name}: NaN or infinity among the similarities")
