"""What a method of labelling gives: probabilities, and what it learned of the annotators."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.config.labels import LabelsSettings
from pd.labels.votes import Votes

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labels of N images.

    Attributes:
        probabilities: (N, C) float64, rows sum to one.
        confusions: (A, C, C) float64, P(annotator says column | truth is row), rows sum to one; None: not estimated.
        warnings: what a reader must know.
    """

    probabilities: Floats
    confusions: Floats | None = None
    warnings: tuple[str, ...] = ()

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) int64, the most probable class; the first of those that are equally so."""
        found: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return found

    @property
    def confidence(self) -> Floats:
        """(N,) probability of that class."""
        found: Floats = self.probabilities.max(axis=1)
        return found


def known(votes: Votes, found: Labelled, settings: LabelsSettings) -> npt.NDArray[np.bool_]:
    """(N,), whether a label is as sure as asked for. Methods that look at no image know nothing of one without a vote."""
    sure: npt.NDArray[np.bool_] = found.confidence >= settings.sure
    return sure if settings.looks else sure & (np.bincount(votes.image, minlength=len(votes.images)) > 0)
