"""Coverage: what of the real people's variety a set of samples still shows.

Around each real image there is a ball as wide as the way to its k-th nearest other real image. Precision (Kynkaanniemi et al.
2019, arXiv 1904.06991) is the share of samples that lie in some ball; coverage (Naeem et al. 2020, arXiv 2002.09797) the share
of real images in whose ball some sample lies. Both depend on how many images there are, so sets are compared at equal size.

The recall of Kynkaanniemi et al., which pd took until version 1 of the schema, takes the samples' own radius. Noise, or a few
samples that lie far out, make that wide: samples that show nobody "reach" nearly every real image, and recall rises while
variety falls (tests/audit/test_coverage.py). Real images' radius does not depend on the samples. k = 3 is of the first paper;
the second takes 5, at which mean faces of sixteen members still "cover" 80 % of the embedded faces' members, at 3 it is 55 %.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import share
from pd.audit.results import Coverage

Features = npt.NDArray[np.float32]

K = 3


def coverage(real: Features, identities: Sequence[str], samples: Features, *, seed: int) -> Coverage | None:
    """Precision, and coverage of images and people, for all of the samples in turn; None with fewer than 5 of either.

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
    reach = _reach(real)
    precise = np.zeros(len(samples), dtype=bool)
    covered: list[npt.NDArray[np.bool_]] = []
    for start in range(0, len(samples) - size + 1, size):
        part = order[start : start + size]
        apart = _apart(samples[part], real)
        precise[part] = (apart <= reach).any(axis=1)
        covered.append(np.asarray((apart <= reach).any(axis=0)))
    asked = order[: len(covered) * size]
    of_images = np.mean(covered, axis=0)
    names, who = np.unique(people, return_inverse=True)
    of_people = np.array([[part[who == one].any() for one in range(len(names))] for part in covered]).mean(axis=0)
    return Coverage(
        identities=share(of_people, names.tolist()),
        precision=share(precise[asked]),
        images=share(of_images, people),
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
