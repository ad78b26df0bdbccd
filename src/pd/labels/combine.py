"""What a network sees in an image and what annotators said of it, put together by Bayes' rule."""

import numpy as np

from pd.labels.result import Floats
from pd.labels.votes import Votes

LEAST = 1e-6  # of a probability, ours: no single vote, and no network, excludes a class


def with_votes(seen: Floats, votes: Votes, confusions: Floats) -> Floats:
    """P(class | image, votes), proportional to P(class | image) times P(vote | class) of every vote on the image.

    Votes are taken to be independent given the class. A network that learned from the same votes has seen them once already:
    the result is surer than it should be.

    Args:
        seen: (N, C), the network's probabilities.
        votes: of N images and A annotators.
        confusions: (A, C, C), P(annotator says column | truth is row).

    Returns:
        (N, C) float64, rows sum to one.
    """
    scores = np.log(np.maximum(seen, LEAST))
    said = np.log(np.maximum(confusions, LEAST))
    for c in range(seen.shape[1]):
        scores[:, c] += np.bincount(votes.image, said[votes.annotator, c, votes.label], len(seen))
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Floats = likely / likely.sum(axis=1, keepdims=True)
    return found


def with_noisy(seen: Floats, noisy: Floats, matrices: Floats) -> Floats:
    """P(label present | image, noisy label), the same for yes-or-no labels; where the noisy one is NaN, `seen`.

    Args:
        seen: (N, q), P(present | image).
        noisy: (N, q), 0, 1 or NaN.
        matrices: (q, 2, 2), P(noisy | clean), rows sum to one.

    Returns:
        (N, q) float64.
    """
    said = np.nan_to_num(noisy) > 0.5
    present = np.where(said, matrices[:, 1, 1], matrices[:, 1, 0]) * np.clip(seen, LEAST, 1 - LEAST)
    absent = np.where(said, matrices[:, 0, 1], matrices[:, 0, 0]) * np.clip(1 - seen, LEAST, 1 - LEAST)
    found: Floats = np.where(np.isfinite(noisy), present / np.maximum(present + absent, LEAST**2), seen)
    return found
