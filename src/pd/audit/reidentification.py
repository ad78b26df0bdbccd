"""Excess re-identification: how much more often a model's samples look like its members than like strangers.

Definitions: methods, *What the audit measures*. A threshold per gallery, because a maximum grows with gallery size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import CONFIDENCE, Estimate, Floats, from_draws, multiplicities, number, of_people, share, students
from pd.audit.impostor_sets import Circles, Met
from pd.audit.nearest import Nearest, Similarity

_LEAST_LIKE = 0.01  # of strangers; ours
_ENOUGH = 20  # strangers for a rate of 1 %; ours
_FEW = 20  # people up to whom intervals are made wider than resampling says; ours
_ROWS = 128  # resamples at a time: bounds memory to a few (128, N) arrays


@dataclass(frozen=True)
class Reidentification:
    """One attacker's verdict on one set of samples.

    Attributes:
        main: share of samples that pass for a member at the stranger rate alpha.
        control: share that pass for a hold-out person, who cannot have been learnt.
        excess: main less control.
        like_holdout: share that look like any hold-out person. Unrelated samples do, too, somewhat more often than `control`:
            that this is most samples tells of a generator that has learned from the hold-out people.
        unlike: share less like the hold-out people whom they meet than 99 in 100 strangers are; 0.01 of unrelated pictures of
            the same kind. Where it is most of them, the comparison says nothing.
        people_hit: how many members are the nearest match of a sample counted in `main`.
        people: members, or hold-out people where these are fewer: whom the intervals are over.
        hits: (N,) bool, the samples counted in `main`.
        false_hits: (N,) bool, those counted in `control`.
        draws: (B,) resampled excess. Equal seeds, people and B resample the people alike, so that ratios and
            differences of two sets' draws are paired.
    """

    main: Estimate
    control: Estimate
    excess: Estimate
    like_holdout: Estimate
    unlike: Estimate
    people_hit: int
    people: int
    hits: npt.NDArray[np.bool_] = field(repr=False, compare=False)
    false_hits: npt.NDArray[np.bool_] = field(repr=False, compare=False)
    draws: Floats = field(repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Samples and strangers compared with both galleries: all that excess re-identification is a function of.

    Attributes:
        to_member: the nearest member image of each of N samples.
        to_holdout: the nearest hold-out image of each.
        met: what each is like the hold-out people whom it is compared with.
        stranger_to_member: (H,) float32, similarity of each hold-out image to its nearest member image.
        stranger_to_others: (CIRCLES, H) float32, to the hold-out people whom it is compared with, in each circle.
        members: (M,) int64, who is in each member image, 0..K-1.
        holdout: (H,) int64, the same of hold-out images.
    """

    to_member: Nearest
    to_holdout: Nearest
    met: Met
    stranger_to_member: npt.NDArray[np.float32]
    stranger_to_others: npt.NDArray[np.float32]
    members: npt.NDArray[np.int64]
    holdout: npt.NDArray[np.int64]


def default_alpha(strangers: Sequence[str]) -> float:
    """The stranger rate that so many strangers can resolve: 1 % from 20 people and 100 pictures on, else 5 %.

    The lower rate hides less in chance. With 20, 39 and 53 strangers (faces, X-rays) unrelated samples' excess spread by 0.007
    to 0.017 at 1 %, by 0.024 at 2 to 4 %, and the intervals held the truth (benchmarks/known_truth.py).

    Args:
        strangers: who is in each of their pictures; several pictures of one person resolve no more than one.
    """
    return 0.01 if len(set(strangers)) >= _ENOUGH and len(strangers) >= 100 else 0.05


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
    """`excess` of whole matrices of similarities.

    Args:
        sample_to_member: (N, M) similarity, larger is more alike.
        sample_to_holdout: (N, H).
        stranger_to_member: (H, M), the hold-out images against the member gallery.
        holdout_to_holdout: (H, H), rows are queries; entries of equal identity are not read.
        member_identities: M names.
        holdout_identities: H names, at least two different ones.
        alpha: share of strangers that may pass, in (0, 1).
        bootstrap: resamples.
        seed: of the circles and the resampling.
    """
    matrices = (sample_to_member, sample_to_holdout, stranger_to_member, holdout_to_holdout)
    _check(*matrices, len(member_identities), len(holdout_identities))
    holdout = number(holdout_identities)
    circles = Circles.of(holdout, seed)
    to_holdout, met = circles.samples(lambda rows: sample_to_holdout[rows], len(sample_to_holdout))
    compared = Comparison(
        to_member=Nearest.of(sample_to_member),
        to_holdout=to_holdout,
        met=met,
        stranger_to_member=stranger_to_member.max(axis=1),
        stranger_to_others=circles.strangers(lambda rows: holdout_to_holdout[rows]),
        members=number(member_identities),
        holdout=holdout,
    )
    return excess(compared, alpha=alpha, bootstrap=bootstrap, seed=seed)


def excess(compared: Comparison, *, alpha: float, bootstrap: int, seed: int) -> Reidentification:
    """Main, control and excess rate with bootstrap intervals over samples and identities.

    Each resample draws member identities and hold-out identities with replacement. The strangers come with theirs, so
    both thresholds are found anew; a sample counts as often as its nearest member and its nearest hold-out person were
    drawn, because samples that resemble one person are not independent. Each rate is weighted by the people of its own
    gallery. With more than 20 people the product of both weights (Owen's pigeonhole bootstrap, 2007) and the chance of N
    samples on top of it count what samples vary by several times: intervals were twice as wide as they need be. The
    galleries stay whole: to thin them would lower the main rate of a model that copies everybody.

    Which hold-out people samples and strangers are compared with, `pd.audit.impostor_sets` says: else unrelated samples would
    pass for hold-out people more often than for members, and small leaks would hide.

    Args:
        compared: samples and strangers with both galleries.
        alpha: share of strangers that may pass, in (0, 1).
        bootstrap: resamples.
        seed: of the resampling.
    """
    member, holdout = compared.members, compared.holdout
    to_member = _Side.among_members(compared)
    to_holdout = _Side.among_holdout(compared)

    once = np.ones((1, holdout.max() + 1))
    hit = to_member.passing(once, alpha)
    false = to_holdout.passing(once, alpha)
    main, control = float(hit.mean()), float(false.mean())
    like_holdout = compared.to_holdout.score > to_holdout.bars(once, alpha)[0]

    rng = np.random.default_rng(seed)
    drawn_members = multiplicities(int(member.max()) + 1, bootstrap, rng)
    drawn_holdout = multiplicities(int(holdout.max()) + 1, bootstrap, rng)
    n, people = len(to_member.scores), int(min(member.max(), holdout.max())) + 1
    resample = _resample_few if people <= _FEW else _resample
    draws = np.concatenate(
        [
            resample(to_member, to_holdout, drawn_members[b : b + _ROWS], drawn_holdout[b : b + _ROWS], alpha, rng)
            for b in range(0, bootstrap, _ROWS)
        ]
    )
    return Reidentification(
        main=of_people(main, draws[:, 0], people, n, least=0.0),
        control=of_people(control, draws[:, 1], people, n, least=0.0),
        excess=excess_interval(main - control, draws[:, 0] - draws[:, 1], people, n),
        like_holdout=share(like_holdout, to_holdout.nearest.astype(str).tolist()),
        unlike=share(to_holdout.scores < to_holdout.floor(), to_holdout.nearest.astype(str).tolist()),
        people_hit=len(np.unique(to_member.nearest[hit[0]])),
        people=people,
        hits=hit[0],
        false_hits=false[0],
        draws=draws[:, 0] - draws[:, 1],
    )


def excess_interval(value: float, draws: Floats, people: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """The interval of an excess: `of_people` for the upper end; the lower end is widened less, so that small leaks are seen.

    The upper end is Student's t, and of no more than 20 people the expanded percentile where that is further; the lower end is
    the percentile, expanded for the variance alone. For ten strangers 0 is then within 98 of 100 intervals of unrelated
    samples, and within 93 to 96 where each person's pictures are very much alike (simulated; benchmarks/RESULTS.md). With more
    people the percentile adds nothing but width: Student's end alone was no lower than the truth in 200 of 200 sets of four
    kinds of real pictures (benchmarks/known_truth.py).
    """
    plain, wide = from_draws(value, draws, n, confidence), of_people(value, draws, people, n, confidence=confidence)
    spread = (people / max(people - 1, 1)) ** 0.5
    half = float(draws.std(ddof=1)) if len(draws) > 1 else 0.0
    high = value + half * students(people, confidence)
    if people <= _FEW:
        high = max(wide.high, high)
    return Estimate(value, max(value - spread * (value - plain.low), -1.0), min(high, 1.0), n)


def first_held_back(weight: Floats, alpha: float) -> npt.NDArray[np.int64]:
    """(B,) which stranger's score is the threshold: the largest that is not let through, in each of B resamples.

    Args:
        weight: (B, H) how often each stranger's image is drawn, those of larger scores first.
        alpha: share of strangers that may pass.
    """
    share = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
    let_through = (share <= alpha + 1e-9).sum(axis=1)
    # Strangers of weight 0 at the end of the let-through run do not matter: the bar is the first that weighs.
    found: npt.NDArray[np.int64] = np.minimum(let_through, weight.shape[1] - 1)
    return found


@dataclass(frozen=True, eq=False)
class _Side:
    """Samples against one gallery, with the strangers that set its thresholds.

    Attributes:
        scores: (N,) float32, of the samples.
        nearest: (N,) int64, whom of the gallery each is nearest to.
        circle: (N,) int64, by which threshold each is judged.
        strangers: (C, H) float32, the strangers' scores: a threshold each.
        who: (H,) int64, who is in each stranger's image.
    """

    scores: npt.NDArray[np.float32]
    nearest: npt.NDArray[np.int64]
    circle: npt.NDArray[np.int64]
    strangers: npt.NDArray[np.float32]
    who: npt.NDArray[np.int64]

    @classmethod
    def among_members(cls, compared: Comparison) -> "_Side":
        to, one = compared.to_member, np.zeros(len(compared.to_member.row), np.int64)
        return cls(to.score, compared.members[to.row], one, compared.stranger_to_member[None], compared.holdout)

    @classmethod
    def among_holdout(cls, compared: Comparison) -> "_Side":
        met, who = compared.met, compared.holdout
        return cls(met.score, who[compared.to_holdout.row], met.circle, compared.stranger_to_others, who)

    def passing(self, drawn: Floats, alpha: float) -> npt.NDArray[np.bool_]:
        """(B, N) which samples pass for one of the gallery in each resample: those whose score is above their bar."""
        passing: npt.NDArray[np.bool_] = self.scores > self.bars(drawn, alpha)
        return passing

    def floor(self) -> Similarity:
        """(N,) the likeness that 99 in 100 strangers reach."""
        floor: Similarity = np.quantile(self.strangers, _LEAST_LIKE, axis=1).astype(np.float32)[self.circle]
        return floor

    def bars(self, drawn: Floats, alpha: float) -> Similarity:
        """(B, N) the largest stranger score that is not let through: at most a share alpha of strangers exceeds it.

        A sample passes when its score is *above*, i.e. at or above the next larger number, which is methods' t.

        Args:
            drawn: (B, identities) multiplicities of the strangers' identities.
            alpha: the share.
        """
        bars = np.empty((len(drawn), len(self.strangers)), np.float32)
        for bar, scores in zip(bars.T, self.strangers, strict=True):
            order = np.argsort(-scores, kind="stable")
            bar[:] = scores[order][first_held_back(drawn[:, self.who[order]], alpha)]
        return bars[:, self.circle]


def _resample(
    to_member: _Side, to_holdout: _Side, members: Floats, holdout: Floats, alpha: float, rng: np.random.Generator
) -> Floats:
    """(B, 2) main and control rate of B resamples."""
    rates = []
    for side, drawn in ((to_member, members), (to_holdout, holdout)):
        weight = drawn[:, side.nearest]
        total = weight.sum(axis=1)
        # A resample that drew none of the people whom samples resemble says nothing of identities: it weighs samples alike.
        weight[total == 0] = 1.0
        passed = np.where(side.passing(holdout, alpha), weight, 0.0).sum(axis=1) / weight.sum(axis=1)
        # No hit among few samples is no proof, nor are only hits: half a hit and half a miss, by chance, as in Jeffreys'
        # interval (Brown, Cai and DasGupta 2001, "Interval estimation for a binomial proportion").
        n = len(side.scores)
        more, less = rng.standard_gamma(0.5, size=(2, len(passed)))
        rates.append((n * passed + more) / (n + more + less))
    return np.stack(rates, axis=1)


def _resample_few(
    to_member: _Side, to_holdout: _Side, members: Floats, holdout: Floats, alpha: float, rng: np.random.Generator
) -> Floats:
    """The same where people are few: weights are the product of both (Owen's pigeonhole bootstrap, 2007), and the chance of N
    samples comes on top. That counts some chance twice, and covers what few people do not show."""
    n = len(to_member.scores)
    weight = members[:, to_member.nearest] * holdout[:, to_holdout.nearest]
    total = weight.sum(axis=1, keepdims=True)
    # A resample that drew none of the people whom samples resemble says nothing of identities: it weighs samples alike.
    weight = np.where(total > 0, weight, 1.0)
    weight /= weight.sum(axis=1, keepdims=True)
    hit, false = to_member.passing(holdout, alpha), to_holdout.passing(holdout, alpha)
    both = (weight * hit * false).sum(axis=1)
    only_main = (weight * hit).sum(axis=1) - both
    only_control = (weight * false).sum(axis=1) - both
    cells = np.clip(np.stack([both, only_main, only_control, 1 - both - only_main - only_control], axis=1), 0.0, 1.0)
    # The chance of N samples, of which only how many fall in each cell matters. Drawn from a posterior and not from the N
    # themselves: no hit among few samples is no proof, nor are only hits. Either rate's is Jeffreys' (Brown, Cai and DasGupta
    # 2001, "Interval estimation for a binomial proportion").
    rates = rng.standard_gamma(n * cells + 1 / 4)
    rates /= rates.sum(axis=1, keepdims=True)
    return np.stack([rates[:, 0] + rates[:, 1], rates[:, 0] + rates[:, 2]], axis=1)


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
