"""People made of random unit vectors: what an attacker would see of strangers to one another."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.audit.reidentification import Reidentification, excess_reidentification

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class People:
    """Embeddings of people who have nothing to do with one another.

    Attributes:
        rows: (N, d) unit rows.
        names: who is in each.
    """

    rows: Rows
    names: list[str]


def people(rng: np.random.Generator, count: int, each: int, dim: int = 64) -> People:
    """`each` pictures of `count` people: a random direction for the person and as much chance for the picture."""
    rows = np.repeat(rng.normal(size=(count, dim)), each, axis=0) + rng.normal(size=(count * each, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return People(rows.astype(np.float32), [str(who) for who in np.repeat(np.arange(count), each)])


def attack(
    samples: Rows, members: People, holdout: People, *, alpha: float = 0.05, bootstrap: int = 200, seed: int = 3
) -> Reidentification:
    """Excess re-identification of samples, (N, d) unit rows."""
    return excess_reidentification(
        samples @ members.rows.T,
        samples @ holdout.rows.T,
        holdout.rows @ members.rows.T,
        holdout.rows @ holdout.rows.T,
        members.names,
        holdout.names,
        alpha=alpha,
        bootstrap=bootstrap,
        seed=seed,
    )
