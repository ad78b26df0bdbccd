"""Coverage: what of the real people's variety a set of samples still shows. Improved precision and recall.

Kynkaanniemi et al. 2019 (arXiv 1904.06991): a set's manifold is the union of balls around its points, each as wide as the way
to its k-th nearest neighbour in the set. Precision is the share of samples on the real manifold, recall the share of real
images on the samples'. Both depend on how many points make a manifold, so sets are compared at equal size, as there.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import share
from pd.audit.results import Coverage

Features = npt.NDArray[np.float32]

K = 3  # the paper's


def coverage(real: Features, identities: Sequence[str], samples: Features, *, seed: int) -> Coverage | None:
    """Precision, recall and coverage of identities, for all of the samples in turn; None with fewer than 5 of either.

    Args:
        real: (M, d) features.
        identities: M names.
        samples: (N, d) features.
        seed: chooses M of more samples at a time, or N of more real images.
    """
    rng = np.random.default_rng(seed)
    size = min(len(real), len(samples))
    if size < K + 2:
        return None
    chosen = np.sort(rng.permutation(len(real))[:size])
    real, people = real[chosen], [identities[row] for row in chosen]
    order = rng.permutation(len(samples))
    real_reach = _reach(real)
    precise = np.zeros(len(samples), dtype=bool)
    covered: list[npt.NDArray[np.bool_]] = []
    for start in range(0, len(samples) - size + 1, size):
        part = order[start : start + size]
        apart = _apart(samples[part], real)
        precise[part] = (apart <= real_reach).any(axis=1)
        covered.append(np.asarray((apart <= _reach(samples[part])[:, None]).any(axis=0)))
    asked = order[: len(covered) * size]
    of_images = np.mean(covered, axis=0)
    names, who = np.unique(people, return_inverse=True)
    of_people = np.array([[part[who == one].any() for one in range(len(names))] for part in covered]).mean(axis=0)
    return Coverage(
        identities=share(of_people, names.tolist()),
        precision=share(precise[asked]),
        recall=share(of_images, people),
        k=K,
        compared=size,
    )


def _apart(some: Features, others: Features) -> Features:
    """(n, m) float32, squared distances."""
    apart = np.square(some).sum(axis=1)[:, None] + np.square(others).sum(axis=1)[None] - 2 * (some @ others.T)
    squared: Features = np.maximum(apart, 0)
    return squared


def _reach(rows: Features) -> Features:
    """(n,) float32, squared distance of each to its k-th nearest other."""
    apart = _apart(rows, rows)
    np.fill_diagonal(apart, np.inf)
    reach: Features = np.partition(apart, K - 1, axis=1)[:, K - 1]
    return reach
