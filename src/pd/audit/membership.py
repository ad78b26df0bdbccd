"""Membership inference: can one tell from a model whether an image was among those that it learned from?

Scores are larger for what looks more like a member. Intervals are by bootstrap over identities, of members and of hold-out
people, for the images of one person are remembered or forgotten together, and widened for few of them. In simulations of 10
people a side with nothing to find, intervals that cover 0.5 became 94 of 100 from 90 by that.

The bar that one stranger's picture in a hundred exceeds hangs on one or two people, whom resampling knows badly: of people
with nothing to find, 3 to 15 in 100 intervals of the true positives began above 0.01. So an interval begins there only where
people who are exchanged between the sides at random hardly ever give as much, a test that is exact for any number of people
(Fisher 1935).

Sources:
    loss threshold: Yeom et al. 2018; for diffusion models, Carlini et al., arXiv 2301.13188, section 5, and Duan et al.,
        arXiv 2302.01316.
    likelihood ratio (LiRA): Carlini et al., arXiv 2112.03570, online and offline, with one variance for all images, as they
        advise where shadow models are few.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import CONFIDENCE, Estimate, Floats, multiplicities, number, of_people
from pd.audit.figures import NotMeasured
from pd.audit.results import Membership

FALSE_POSITIVES = 0.01
_ROWS = 64  # resamples at once
_LOTS = 2048  # random exchanges of people; a confidence of 0.95 over twenty attacks needs no more


Variant = Literal["online", "offline"]


def membership(
    member: Floats,
    holdout: Floats,
    member_identities: Sequence[str],
    holdout_identities: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
    confidence: float = CONFIDENCE,
) -> Membership:
    """AUC and TPR at 1 % FPR of an attack's scores.

    Args:
        member: (M,) scores of images that the model learned from, finite.
        holdout: (H,) scores of images of other people, finite.
        member_identities: M names.
        holdout_identities: H names.
        bootstrap: resamples.
        seed: of the resampling.
        confidence: of the intervals; more where several attacks are made, of which the one that tells most is shown.
    """
    if len(member) != len(member_identities) or len(holdout) != len(holdout_identities) or not len(member) * len(holdout):
        raise ValueError(f"{len(member)} and {len(holdout)} scores of {len(member_identities)} and {len(holdout_identities)}")
    if not (np.isfinite(member).all() and np.isfinite(holdout).all()):
        raise ValueError("NaN or infinity among the scores")
    ours, theirs = number(member_identities), number(holdout_identities)
    rng = np.random.default_rng(seed)
    drawn_ours = multiplicities(int(ours.max()) + 1, bootstrap, rng)
    drawn_theirs = multiplicities(int(theirs.max()) + 1, bootstrap, rng)
    wins = _wins(member, holdout, ours, theirs)
    pairs = np.outer(np.bincount(ours), np.bincount(theirs)).astype(np.float64)
    n = len(member) + len(holdout)
    people = min(wins.shape)
    draws = _weighted(wins, drawn_ours, drawn_theirs) / _weighted(pairs, drawn_ours, drawn_theirs)
    auc = of_people(float(wins.sum() / pairs.sum()), draws, people, n, least=0.0, confidence=confidence)
    few = f"{len(holdout)} hold-out images; a false positive rate of 1 % needs {round(1 / FALSE_POSITIVES)}"
    found: Estimate | NotMeasured = NotMeasured(why=few)
    if len(holdout) * FALSE_POSITIVES >= 1:
        value = _true_positives(member, holdout, np.ones((1, len(member))), np.ones((1, len(holdout))))[0]
        parts = [
            _true_positives(member, holdout, drawn_ours[rows][:, ours], drawn_theirs[rows][:, theirs])
            for rows in (slice(start, start + _ROWS) for start in range(0, bootstrap, _ROWS))
        ]
        found = of_people(float(value), np.concatenate(parts), people, n, least=0.0, confidence=confidence)
        if found.low > FALSE_POSITIVES and _by_lot(member, holdout, ours, theirs, float(value), seed) > (1 - confidence) / 2:
            found = replace(found, low=FALSE_POSITIVES)
    return Membership(auc=auc, tpr_at_1=found, members=len(member), holdout=len(holdout))


def loss_scores(losses: npt.NDArray[np.float32]) -> Floats:
    """(N,) scores of the loss-threshold attack: minus the mean of (N, T) losses."""
    scores: Floats = -losses.mean(axis=1, dtype=np.float64)
    return scores


def likelihood_ratio(target: Floats, shadows: Floats, inside: npt.NDArray[np.bool_], variant: Variant) -> Floats:
    """(N,) scores: how much likelier the target's loss is if the image was learned than if it was not.

    Of each image, losses under the shadows that learned it, and under those that did not, count as normal with a mean of
    the image's own and one deviation for all images. `online` is the log ratio of the two densities. `offline` looks only
    at the shadows that did not learn the image: how far below theirs the target's loss is, in deviations.

    Args:
        target: (N,) loss of each image under the model that is attacked.
        shadows: (S, N) the same under each shadow.
        inside: (S, N) whether the shadow learned the image; each image has shadows of both kinds.
        variant: online for a model that learned as the shadows did; offline for any other.
    """
    mean_in, deviation_in = _normal(shadows, inside)
    mean_out, deviation_out = _normal(shadows, ~inside)
    far_out = (mean_out - target) / deviation_out
    if variant == "offline":
        return far_out
    scores: Floats = (far_out**2 - ((mean_in - target) / deviation_in) ** 2) / 2
    return scores


def _normal(shadows: Floats, which: npt.NDArray[np.bool_]) -> tuple[Floats, float]:
    """Each image's mean, (N,), and the deviation from it, of the losses that `which`, (S, N), names.

    With one loss for each image there is no deviation from its mean: all losses' own is taken, which is too large, and
    weighs all images alike.
    """
    count = which.sum(axis=0)
    if not count.all():
        raise ValueError("an image is in all shadows or in none")
    mean = np.where(which, shadows, 0.0).sum(axis=0) / count
    freedom = int((count - 1).sum())
    squares = np.where(which, shadows - mean, 0.0) ** 2
    deviation = np.sqrt(squares.sum() / freedom) if freedom else mean.std()
    return mean, max(float(deviation), np.finfo(np.float64).tiny)


def _wins(member: Floats, holdout: Floats, ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64]) -> Floats:
    """(identities, identities) pairs of images whose member scores higher; a tie is half a win."""
    wins = np.zeros((int(ours.max()) + 1, int(theirs.max()) + 1))
    for who in range(wins.shape[1]):
        against = np.sort(holdout[theirs == who])
        won = (np.searchsorted(against, member, "left") + np.searchsorted(against, member, "right")) / 2
        wins[:, who] = np.bincount(ours, weights=won)
    return wins


def _by_lot(
    member: Floats, holdout: Floats, ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64], value: float, seed: int
) -> float:
    """How often people who are exchanged at random, as many on either side, give as many true positives as `value`."""
    scores = np.concatenate([member, holdout])
    order = np.argsort(-scores, kind="stable")
    above = np.searchsorted(-scores[order], -scores[order], side="left")  # how many scores are larger
    inside = int(ours.max()) + 1
    who = np.concatenate([ours, theirs + inside])[order]
    sides = np.tile(np.arange(int(who.max()) + 1) >= inside, (_ROWS, 1))
    rng = np.random.default_rng([seed, 1])
    as_many = 0
    for _ in range(_LOTS // _ROWS):
        outside = rng.permuted(sides, axis=1)[:, who]
        strangers, others = np.cumsum(outside, axis=1), np.cumsum(~outside, axis=1)
        bar = (strangers > (FALSE_POSITIVES + 1e-9) * strangers[:, -1:]).argmax(axis=1)
        passed = np.take_along_axis(np.pad(others, ((0, 0), (1, 0))), above[bar][:, None], axis=1)[:, 0]
        as_many += int((passed / others[:, -1] >= value - 1e-12).sum())
    return (1 + as_many) / (1 + _LOTS)


def _weighted(table: Floats, rows: Floats, columns: Floats) -> Floats:
    """(B,) sums of a table whose rows and columns count as often as (B, rows) and (B, columns) say."""
    total: Floats = ((rows @ table) * columns).sum(axis=1)
    return total


def _true_positives(member: Floats, holdout: Floats, member_weight: Floats, holdout_weight: Floats) -> Floats:
    """(B,) weighted share of members above the score that at most 1 % of the weighted hold-out images exceed."""
    order = np.argsort(-holdout, kind="stable")
    weight = holdout_weight[:, order]
    share = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
    bar = holdout[order][np.minimum((share <= FALSE_POSITIVES + 1e-9).sum(axis=1), len(holdout) - 1)]
    rate: Floats = (member_weight * (member > bar[:, None])).sum(axis=1) / member_weight.sum(axis=1)
    return rate
