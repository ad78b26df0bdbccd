"""Utility: does a classifier trained on synthetic images work on real people whom no model has seen?"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, Floats, from_draws, multiplicities, number
from pd.audit.results import Utility

Labels = Mapping[str, Floats]
Features = npt.NDArray[np.float32]

# Strong, because features outnumber images. The only value that was tried with these features.
_INVERSE_PENALTY = 1e-3
_NONE = "no label can be used"


def utility(
    train: Features,
    train_labels: Labels,
    test: Features,
    test_labels: Labels,
    test_identities: Sequence[str],
    *,
    steps: int,
    bootstrap: int,
    seed: int,
    among: Collection[str] | None = None,
) -> Utility:
    """Train on one set, test on real hold-out images.

    `auc` is the mean over labels, None where none can be used; `labels` and `skipped` the AUC of each, or why it is not used;
    `subgroups` label -> value -> macro AUC of the other labels among the hold-out people who have it.

    Args:
        train: (N, d) features of an arm's samples, or of real members.
        train_labels: what their prompts imply, (N,) each, NaN where missing.
        test: (T, d) features of the hold-out images.
        test_labels: the truth, (T,) each, NaN where missing.
        test_identities: T names; the interval comes from resampling them.
        steps: most iterations of the solver.
        bootstrap: resamples.
        seed: of the resampling.
        among: labels over which means are taken, so that those of several sets compare; None, or none of them: all.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    skipped: dict[str, str] = {}
    people = number(test_identities)
    drawn = multiplicities(int(people.max()) + 1, bootstrap, np.random.default_rng(seed))[:, people]
    once = np.ones((1, len(people)))
    aucs: dict[str, float] = {}
    scores: dict[str, Floats] = {}
    for name in sorted(set(train_labels) | set(test_labels)):
        why = _unusable(train_labels.get(name), "training") or _unusable(test_labels.get(name), "hold-out")
        if why:
            skipped[name] = why
            continue
        known, truth = np.isfinite(train_labels[name]), test_labels[name]
        tested = np.isfinite(truth)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=steps))
        model.fit(train[known], train_labels[name][known])
        scores[name] = np.full(len(test), np.nan)
        scores[name][tested] = model.decision_function(test[tested])
        aucs[name] = float(weighted_auc(scores[name][tested], truth[tested] > 0.5, once[:, tested])[0])
    if not aucs:
        return Utility(auc=None, why=_NONE, labels={}, skipped=skipped)
    names = set(scores if among is None else among)
    scores = {name: score for name, score in scores.items() if name in names} or scores
    macro = _macro(scores, test_labels, np.ones(len(test), dtype=bool), drawn)
    if macro is None:
        few = {"all": "too few hold-out people have each label for an interval"}
        return Utility(auc=None, why=_NONE, labels=aucs, skipped={**skipped, **few})
    subgroups: dict[str, dict[str, Estimate]] = {}
    for name in scores:
        others = {other: score for other, score in scores.items() if other != name}
        groups = ((f"{value:g}", _macro(others, test_labels, test_labels[name] == value, drawn)) for value in (0.0, 1.0))
        if found := {value: estimate for value, estimate in groups if estimate}:
            subgroups[name] = found
    return Utility(auc=macro, labels=aucs, skipped=skipped, **({"subgroups": subgroups} if subgroups else {}))


def shared_by(sets: Iterable[Labels]) -> set[str]:
    """The labels that a classifier can learn from in each of these sets, as far as any can be learned there."""
    usable = [{name for name, values in labels.items() if _unusable(values, "training") is None} for labels in sets]
    return set.intersection(*known) if (known := [names for names in usable if names]) else set()


def _macro(scores: Labels, truth: Labels, rows: npt.NDArray[np.bool_], drawn: Floats) -> Estimate | None:
    """Mean AUC of the labels whose both classes are among the rows, with its interval; None without any.

    It is of so many images as have one of these labels.
    """
    values, draws, counted = [], [], np.zeros(len(rows), dtype=bool)
    for name, score in scores.items():
        tested = rows & np.isfinite(truth[name])
        positive = truth[name][tested] > 0.5
        if positive.any() and not positive.all():
            once = np.ones((1, int(tested.sum())))
            values.append(float(weighted_auc(score[tested], positive, once)[0]))
            draws.append(weighted_auc(score[tested], positive, drawn[:, tested]))
            counted |= tested
    if not values:
        return None
    # A resample without both classes of some label is left out, so that every draw is a mean over the same labels.
    macro = np.mean(draws, axis=0)
    return from_draws(float(np.mean(values)), macro, int(counted.sum())) if np.isfinite(macro).any() else None


def weighted_auc(score: Floats, positive: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    """Area under the ROC curve with weights: the share of (positive, negative) pairs in the right order, ties half.

    Args:
        score: (T,).
        positive: (T,) bool.
        weight: (B, T), one set of weights a row.

    Returns:
        (B,) float64, NaN where a row has no weight on one class.
    """
    negatives = np.sort(score[~positive])
    order = np.argsort(score[~positive], kind="stable")
    below = np.concatenate([np.zeros((len(weight), 1)), np.cumsum(weight[:, ~positive][:, order], axis=1)], axis=1)
    won = below[:, np.searchsorted(negatives, score[positive], side="left")]
    drew = below[:, np.searchsorted(negatives, score[positive], side="right")] - won
    weight_positive = weight[:, positive]
    pairs = weight_positive.sum(axis=1) * below[:, -1]
    right = (weight_positive * (won + drew / 2)).sum(axis=1)
    result: Floats = np.divide(right, pairs, out=np.full(len(weight), np.nan), where=pairs > 0)
    return result


def _unusable(values: Floats | None, where: str) -> str | None:
    """Why a label cannot be used, or None."""
    if values is None:
        return f"not in the {where} images"
    present = set(np.unique(values[np.isfinite(values)]).tolist())
    if not present <= {0.0, 1.0}:
        return "not a yes-or-no label"
    if len(present) < 2:
        return f"the {where} images have one class only"
    return None
