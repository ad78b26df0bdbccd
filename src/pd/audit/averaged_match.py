"""The same after averaging: each sample gives way to the mean of its nearest fellows.

A generator that never shows a picture whole may show parts of it again and again; the mean of like samples has less of each
one's own noise. Clusters of samples betray members where single samples do not (arXiv 2512.06062). Means are taken of the
attacker's rows; how many fellows is not known beforehand, so 2, 4, 8 and 16 are tried and the most similar of all counts.
Strangers come closer to means, too: only the comparison of both tells anything.
"""

import numpy as np

from pd.reid.spaces.whitening import Rows, unit

FELLOWS = (2, 4, 8, 16)  # itself among them
_BLOCK = 1024  # samples whose fellows are looked for at a time


def averaged(samples: Rows) -> Rows:
    """Unit rows of the means of each sample's nearest fellows, one for each of FELLOWS that there are samples for.

    Args:
        samples: (N, d) float32, unit rows.

    Returns:
        (K * N, d) float32. Of fewer than two samples, these themselves.
    """
    counts = [count for count in FELLOWS if count <= len(samples)]
    if not counts:
        return samples
    most = max(counts)
    parts: list[Rows] = []
    for at in range(0, len(samples), _BLOCK):
        likeness = samples[at : at + _BLOCK] @ samples.T
        likeness[np.arange(len(likeness)), at + np.arange(len(likeness))] = np.inf  # each is its own first fellow
        near = np.argpartition(-likeness, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(likeness, near, 1), axis=1, kind="stable")
        fellows = samples[np.take_along_axis(near, order, 1)]
        parts += [unit(fellows[:, :count].mean(axis=1)) for count in counts]
    return np.concatenate(parts)
