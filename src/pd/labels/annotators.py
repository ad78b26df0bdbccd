"""How reliable annotators are, with intervals: what people who pay for labels look at."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from scipy.stats import beta

from pd.labels.result import Labelled
from pd.labels.votes import Votes


@dataclass(frozen=True)
class Annotator:
    """One annotator.

    Attributes:
        name: his id; private.
        votes: how many he gave.
        reliability: expected share of his votes that name the true class, in [0, 1].
        low, high: its 95 % interval.
    """

    name: str
    votes: int
    reliability: float
    low: float
    high: float


def annotators(votes: Votes, found: Labelled) -> list[Annotator]:
    """All annotators, the least reliable first by the upper end of the interval, so that one poor vote condemns nobody.

    A vote counts as right with the probability that the labels give to its class. The interval is Jeffreys': of a beta
    distribution with the expected right and wrong votes, and a half of each.
    """
    right = np.bincount(votes.annotator, found.probabilities[votes.image, votes.label], len(votes.annotators))
    given = np.bincount(votes.annotator, minlength=len(votes.annotators))
    share = right / np.maximum(given, 1)
    # Jeffreys' interval leaves out the ends; where all votes are right, or none, the estimate is an end.
    low = np.minimum(beta.ppf(0.025, right + 0.5, given - right + 0.5), share)
    high = np.maximum(beta.ppf(0.975, right + 0.5, given - right + 0.5), share)
    return [
        Annotator(votes.annotators[a], int(given[a]), float(share[a]), float(low[a]), float(high[a]))
        for a in np.argsort(high, kind="stable")
    ]


def write_annotators(people: Sequence[Annotator], file: Path) -> None:
    """Write a CSV of a row for each, in their order; its columns are the attributes."""
    pacsv.write_csv(pa.Table.from_pylist([asdict(person) for person in people]), file)
