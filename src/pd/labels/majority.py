"""The majority of votes."""

import numpy as np

from pd.labels.result import Labelled
from pd.labels.votes import Votes


def majority(votes: Votes) -> Labelled:
    """Each image's shares of votes; an image without a vote gets the shares of all votes."""
    counts = votes.counts()
    total = counts.sum(axis=1, keepdims=True)
    overall = counts.sum(axis=0) / counts.sum()
    return Labelled(np.where(total > 0, counts / np.maximum(total, 1), overall), warnings=votes.warnings)
