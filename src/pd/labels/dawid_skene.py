"""Dawid and Skene's expectation maximisation over annotators' confusion matrices.

Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm", Applied Statistics 28 (1979).
Memory is that of the votes, the posteriors and the confusion matrices; a step takes time proportional to votes times classes.
"""

import numpy as np
import numpy.typing as npt

from pd.labels.majority import majority
from pd.labels.result import Floats, Labelled
from pd.labels.votes import Votes
from pd.progress import Progress, silent

TINY = 1e-10  # the least probability, so that one vote alone excludes no class
LEAST_IMAGES = 10  # with several votes, ours: with fewer nobody can tell chance from agreement
CHANCE = "annotators agree no more often than by chance: the labels are worth nothing"


def dawid_skene(votes: Votes, *, steps: int = 100, tolerance: float = 1e-5, progress: Progress = silent) -> Labelled:
    """Posteriors of the true classes, and the annotators' confusion matrices.

    It begins with the majority's shares, and ends after `steps`, or when the evidence lower bound per vote rises by
    less than `tolerance`. An annotator's matrix is over the classes that he has used: a class he never gave has probability 0.

    Args:
        votes: of all annotators.
        steps: at most.
        tolerance: of the bound, in nats per vote.
        progress: called after each step.
    """
    has = np.bincount(votes.image, minlength=len(votes.images)) > 0
    posterior = majority(votes).probabilities
    prior, errors = _maximise(votes, posterior, has)
    bound = -np.inf
    for step in range(steps):
        posterior, log_evidence = _expect(votes, prior, errors)
        prior, errors = _maximise(votes, posterior, has)
        reached = _bound(votes, posterior, prior, errors, has)
        progress(step + 1, steps, {"evidence": log_evidence / max(1, len(votes))})
        if reached - bound < tolerance:
            break
        bound = reached
    confusions = np.moveaxis(errors, 1, 2)  # (A, truth, said)
    confusions = confusions / np.maximum(confusions.sum(axis=2, keepdims=True), TINY)
    warnings = (CHANCE,) if agrees_by_chance(votes) else ()
    return Labelled(posterior, confusions, (*votes.warnings, *warnings))


def agrees_by_chance(votes: Votes) -> bool:
    """Whether pairs of votes on an image agree no more often than votes drawn from all, two standard errors granted.

    With fewer than LEAST_IMAGES images with several votes nothing is said.

    A crowd that errs alike agrees: votes alone cannot tell that it is wrong.
    """
    counts = votes.counts()
    each = counts.sum(axis=1)
    pairs = each * (each - 1) / 2
    several = pairs > 0
    if several.sum() < LEAST_IMAGES:
        return False
    agreeing = (counts * (counts - 1) / 2).sum(axis=1)
    shares = counts.sum(axis=0) / counts.sum()
    excess = agreeing[several] - pairs[several] * float((shares**2).sum())
    spread = float(np.sqrt((excess**2).sum()))
    return float(excess.sum()) < 2 * spread


def _maximise(votes: Votes, posterior: Floats, has: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The prior, (C,), and P(said | truth) as (A, said, truth): each annotator's columns sum to one over what he said."""
    classes = len(votes.classes)
    cells = votes.annotator * classes + votes.label
    size = len(votes.annotators) * classes
    by_class = [np.bincount(cells, weights=posterior[votes.image, c], minlength=size) for c in range(classes)]
    errors = np.stack(by_class, axis=1).reshape(len(votes.annotators), classes, classes).astype(np.float64)
    said = (np.bincount(cells, minlength=size) > 0).reshape(len(votes.annotators), classes, 1)
    errors = np.where(said, np.maximum(errors, TINY), 0.0)
    whole = np.maximum(errors.sum(axis=1, keepdims=True), TINY)  # of an annotator without a vote: nothing
    return np.maximum(posterior[has].mean(axis=0), TINY), errors / whole


def _expect(votes: Votes, prior: Floats, errors: Floats) -> tuple[Floats, float]:
    """Posteriors, (N, C), and the log evidence in nats."""
    said = np.log(np.maximum(errors, np.finfo(np.float64).tiny))
    scores = np.stack(
        [
            np.bincount(votes.image, weights=said[votes.annotator, votes.label, c], minlength=len(votes.images))
            for c in range(len(votes.classes))
        ],
        axis=1,
    ) + np.log(prior)
    highest = scores.max(axis=1, keepdims=True)
    likelihood = np.exp(scores - highest)
    total = likelihood.sum(axis=1, keepdims=True)
    return likelihood / total, float((highest + np.log(total)).sum())


def _bound(votes: Votes, posterior: Floats, prior: Floats, errors: Floats, has: npt.NDArray[np.bool_]) -> float:
    """The evidence lower bound, with the prior counted once a vote (as crowd-kit, whose stopping point is kept so)."""
    said = np.log(np.maximum(errors, np.finfo(np.float64).tiny))
    total = 0.0
    for c, weight in enumerate(np.log(prior)):
        total += float((posterior[votes.image, c] * (said[votes.annotator, votes.label, c] + weight)).sum())
    held = np.maximum(posterior[has], TINY)
    return (total - float((held * np.log(held)).sum())) / len(votes)
