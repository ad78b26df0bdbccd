"""How like is too like: the filter's threshold from people that no generator has seen (methods, step 7)."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pd.config import CalibrationSettings
from pd.errors import UserError
from pd.reid.pairs import auc_of_pairs, rank1


@dataclass(frozen=True)
class Calibration:
    """A threshold and where it comes from.

    Attributes:
        method: stranger_quantile | probability | fixed.
        threshold: drop what scores at least this cosine; above 1 drops nothing, -1 and below everything.
        strangers: hold-out images behind it.
        strangers_dropped: share of them that this threshold drops; None without strangers.
        pairs: hold-out pairs behind a logistic calibration, else 0.
        slope, intercept: P(same person) = 1 / (1 + exp(-(slope * cosine + intercept))), of method `probability` only.
    """

    method: str
    threshold: float
    strangers: int
    strangers_dropped: float | None
    pairs: int = 0
    slope: float | None = None
    intercept: float | None = None

    def to_json(self) -> str:
        """One JSON object with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        return cls(**json.loads(text))


_TELLS, _FINDS = 0.7, 0.2  # AUC and rank-1 below which a network is named; ours


@dataclass(frozen=True)
class Verification:
    """How well an embedding tells people apart.

    Attributes:
        auc: area under the ROC curve of the cosines of all pairs of images, same person against not; None when there is no
            pair of one kind.
        rank1: share of images whose nearest other image shows the same person, over images that have one; None without any.
        images: number of images.
        identities: number of people.
        same_pairs: pairs of images of one person.
        other_pairs: pairs of images of two.
    """

    auc: float | None
    rank1: float | None
    images: int
    identities: int
    same_pairs: int
    other_pairs: int

    def words(self) -> str:
        """For a line at a terminal; says what could not be measured, and why."""
        auc = "not measured (no person has two images)" if self.auc is None else f"{self.auc:.3f}"
        return f"AUC {auc}" + ("" if self.rank1 is None else f", rank-1 {self.rank1:.3f}")

    @property
    def doubt(self) -> str:
        """A sentence where the network hardly tells people apart but by copies; else nothing."""
        if self.auc is None or self.rank1 is None:
            return "No hold-out person has two pictures: whether the network recognises people is not known."
        if self.auc >= _TELLS and self.rank1 >= _FINDS:
            return ""
        return (
            f"On hold-out people the network tells same from other with AUC {self.auc:.3f} (0.5 is guessing) and finds the "
            f"person in {100 * self.rank1:.0f} of 100 pictures: it hardly recognises anybody but by copies. Train it longer "
            "(reid.steps), on larger pictures (data.size), or with other weights (reid.backbone), before a teacher is trained."
        )


def calibrate(
    settings: CalibrationSettings,
    stranger_scores: ArrayLike,
    pair_cosines: ArrayLike = (),
    pair_same: ArrayLike = (),
    people: ArrayLike | None = None,
    pair_count: ArrayLike | None = None,
) -> Calibration:
    """The threshold t; an image is dropped at s >= t.

    - `stranger_quantile`: t is the smallest number that the share q of strangers' images stays under. Images of one person
      are alike, so with few people their plain quantile drops more of the next stranger than it says. Where `people` are
      named, each counts as one and one more, unseen, is taken to score anything: then the next stranger's images are
      dropped at a rate of 1 - q at most, on average over who was measured (conformal prediction for groups: Lee, Barber &
      Willett, "Distribution-free inference with hierarchical data", arXiv 2306.06342). With n people that can be had up to
      q = n / (n + 1); above, t is just above all of them.
    - `probability`: logistic regression of "same person" on the cosine of hold-out pairs, both kinds given equal weight (pairs
      of strangers outnumber the others by the size of the data set, which says nothing about a candidate); t where it gives p.
    - `fixed`: the settings' number.

    Args:
        settings: method and its number.
        stranger_scores: (n,) score of each hold-out image against the member gallery.
        pair_cosines: (p,) cosines of pairs of hold-out images.
        pair_same: (p,) whether both images of a pair show one person.
        people: (n,) who each stranger is; None: everybody is another one, and no one is taken to be missing.
        pair_count: (p,) how many pairs each of `pair_cosines` stands for; None: one.

    Raises:
        UserError: there are no strangers, or not both kinds of pairs, for a method that needs them, or the cosines do not grow
            with sameness.
        ValueError: a score or cosine is not finite, or the pairs' arrays differ in length.
    """
    strangers = _finite(stranger_scores, "stranger scores")
    pairs, slope, intercept = 0, None, None
    if settings.method == "stranger_quantile":
        threshold = _stranger_quantile(strangers, settings.quantile, people)
    elif settings.method == "probability":
        cosines, same = _finite(pair_cosines, "pair cosines"), np.asarray(pair_same, dtype=bool)
        if cosines.shape != same.shape:
            raise ValueError(f"{len(cosines)} cosines of pairs, {len(same)} labels")
        count = None if pair_count is None else np.asarray(pair_count, dtype=np.int64)
        if count is not None:
            cosines, same, count = cosines[count > 0], same[count > 0], count[count > 0]
        slope, intercept = _logistic(cosines, same, count)
        threshold = _cosine_at(settings.probability, slope, intercept)
        pairs = len(cosines) if count is None else int(count.sum())
    else:
        threshold = settings.threshold
    dropped = float(np.mean(strangers >= threshold)) if len(strangers) else None
    return Calibration(settings.method, threshold, len(strangers), dropped, pairs, slope, intercept)


def verification(embeddings: ArrayLike, identities: ArrayLike) -> Verification:
    """Verification AUC over all pairs of images and rank-1 identification, each image against all others.

    Args:
        embeddings: (N, d) float32, rows of unit length.
        identities: (N,) names.
    """
    auc, same, other = auc_of_pairs(embeddings, identities)
    names = np.asarray(identities, dtype=str)
    return Verification(auc, rank1(embeddings, identities), len(names), len(np.unique(names)), same, other)


def _stranger_quantile(strangers: NDArray[np.float64], q: float, people: ArrayLike | None) -> float:
    if not len(strangers):
        raise UserError(
            "no hold-out images to calibrate on",
            code="no-images",
            where="reid.calibration",
            fix="raise data.holdout, or set reid.calibration.method: fixed",
        )
    if people is None:
        share = np.full(len(strangers), 1 / len(strangers))
    else:
        _, who, images = np.unique(np.asarray(people), return_inverse=True, return_counts=True)
        share = 1 / images[who] / (len(images) + 1)
    order = np.argsort(strangers, kind="stable")
    # Rounded: 0.8 of ten must not become nine by the last bit of a sum.
    under = np.round(np.cumsum(share[order]), 9)
    kept = min(int(np.searchsorted(under, q)), len(order) - 1) if q > 0 else -1
    if kept < 0:
        return float(strangers.min())
    return float(np.nextafter(np.float32(strangers[order[kept]]), np.float32(np.inf)))


def _logistic(cosines: NDArray[np.float64], same: NDArray[np.bool_], count: NDArray[np.int64] | None) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    if not same.any() or same.all():
        raise UserError(
            "hold-out pairs are all of one kind, so P(same person) cannot be learnt",
            code="learned-nothing",
            where="reid.calibration.method",
            fix="hold out two people or more with two images each, or use stranger_quantile",
        )
    if count is None:
        model = LogisticRegression(C=1e4, class_weight="balanced", max_iter=1000).fit(cosines[:, None], same)
    else:  # balanced by how many pairs there are, not by how many numbers stand for them
        share = np.where(same, count[same].sum(), count[~same].sum()) * 2 / count.sum()
        model = LogisticRegression(C=1e4, max_iter=1000).fit(cosines[:, None], same, sample_weight=count / share)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        raise UserError(
            "pairs of one person are no more alike than pairs of two: the network has learnt nothing",
            code="learned-nothing",
            where="reid.calibration.method",
            fix="train it longer (reid.steps), or on more images",
        )
    return slope, intercept


def _cosine_at(p: float, slope: float, intercept: float) -> float:
    """The cosine of probability p; -1 for p = 0 (drop all), 2 for p = 1 (drop nothing): finite, so that JSON holds it."""
    if p <= 0:
        return -1.0
    if p >= 1:
        return 2.0
    return (math.log(p / (1 - p)) - intercept) / slope


def _finite(values: ArrayLike, what: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{what}: a line of finite numbers is needed")
    return array
