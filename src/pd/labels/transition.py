"""Transition matrices of noisy yes-or-no labels: T^j = P(noisy | clean) of label j, 2 x 2, rows sum to one.

`by_correlation` is "Estimating Noise Transition Matrix with Label Correlations for Noisy Multi-Label Learning"
(arXiv 2309.12706). For another label i let E = P(noisy j, noisy i) and M = P(noisy i | clean j), both 2 x 2, and P the diagonal
of P(clean j). Where the noise of j does not depend on i,

    E = T^T P M,   so   T^T P = E M^-1,

whose columns sum to P, and from which T follows. E is counted; M is counted on images whose label j is likely clean: those that
the component of lower mean of a two-component Gaussian mixture over a network's losses holds. It is solvable where M is
invertible: i must tell something of j. The solution nearest to the others is taken (least sum of distances).

Error: with dE and dM the errors of E and M, T^T P is off by at most |M^-1| (|dE| + |E M^-1| |dM|) to first order, in any
sub-multiplicative norm; the errors of counts fall as 1 / sqrt(images), that of the selection's bias does not fall with them.

Baselines: `anchor` is the T-estimator of Patrini et al. (arXiv 1609.03683), `dual` the Dual-T estimator (arXiv 2006.07805).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAST_DETERMINANT = 0.02  # of M, ours: below it label i tells too little of label j
LEAST_SELECTED = 20  # likely clean images of each value, ours


@dataclass(frozen=True, eq=False)
class Transitions:
    """Of q labels.

    Attributes:
        matrices: (q, 2, 2) float64; row 0: the label is absent in truth.
        how: q words: `correlation`, `dual` (no other label tells enough), `none` (too rare: the label is taken to be right), or
            the baseline's name.
    """

    matrices: Floats
    how: tuple[str, ...]


def solve(joint: Floats, given_clean: Floats) -> tuple[Floats, Floats]:
    """T and the clean shares from exact E and M.

    Args:
        joint: E, (2, 2), P(noisy j = row, noisy i = column).
        given_clean: M, (2, 2), P(noisy i = column | clean j = row); invertible.

    Returns:
        T, (2, 2), and P, (2,).
    """
    product = joint @ np.linalg.inv(given_clean)  # T^T P
    share = product.sum(axis=0)
    return (product / share).T, share


def counted_joint(first: Floats, second: Floats) -> Floats:
    """E of two (n,) 0/1 labels; images where either is NaN do not count."""
    known = np.isfinite(first) & np.isfinite(second)
    cells = np.bincount((2 * first[known] + second[known]).astype(np.int64), minlength=4).reshape(2, 2)
    found: Floats = cells / max(1, int(known.sum()))
    return found


def likely_clean(losses: Floats, seed: int = 0) -> Bools:
    """Images whose loss belongs to the lower of two Gaussian components, (n,) bool."""
    from sklearn.mixture import GaussianMixture

    finite = np.isfinite(losses)
    values = losses[finite, None]
    found = np.zeros(len(losses), dtype=bool)
    if len(values) < 2 or np.ptp(values) == 0:
        found[finite] = True
        return found
    mixture = GaussianMixture(2, random_state=seed, reg_covar=1e-6).fit(values)
    low = int(mixture.means_[:, 0].argmin())
    found[finite] = mixture.predict_proba(values)[:, low] > 0.5
    return found


def by_correlation(
    noisy: Floats, probabilities: Floats, losses: Floats, *, one_sided: bool = False, seed: int = 0
) -> Transitions:
    """T of every label, from its correlations with the others.

    Args:
        noisy: (n, q) labels, 0, 1 or NaN.
        probabilities: (n, q), what a network warmed up on them says; for the fall back.
        losses: (n, q), its losses.
        one_sided: present labels may be missing, absent ones are never given: row 0 of T is (1, 0). The user's to know.
        seed: of the mixtures.
    """
    fallback = dual(noisy, probabilities)
    labels = noisy.shape[1]
    matrices, how = np.empty((labels, 2, 2)), []
    for j in range(labels):
        solutions = _solutions(noisy, losses, j, one_sided, seed)
        if solutions:
            matrices[j] = _nearest_to_others(solutions)
            how.append("correlation")
        else:
            matrices[j] = one_sided_matrix(fallback.matrices[j]) if one_sided else fallback.matrices[j]
            how.append(fallback.how[j])
    return Transitions(matrices, tuple(how))


def _solutions(noisy: Floats, losses: Floats, j: int, one_sided: bool, seed: int) -> list[Floats]:
    """T^j by each other label that tells enough of label j."""
    known = np.isfinite(noisy[:, j])
    selected = np.zeros(len(noisy), dtype=bool)
    for value in (0.0, 1.0):  # by value: a rare label's losses are all high
        those = known & (noisy[:, j] == value)
        selected[those] = likely_clean(losses[those, j], seed) if not (one_sided and value == 1.0) else True
    chosen = noisy[selected, j]
    if min((chosen == 0).sum(), (chosen == 1).sum()) < LEAST_SELECTED:
        return []
    found = []
    for i in range(noisy.shape[1]):
        if i == j:
            continue
        other = noisy[selected, i]
        given_clean = np.array([_shares(other[chosen == value]) for value in (0.0, 1.0)])
        if not abs(np.linalg.det(given_clean)) > LEAST_DETERMINANT:
            continue
        matrix, share = solve(counted_joint(noisy[:, j], noisy[:, i]), given_clean)
        if (share > 0).all() and np.isfinite(matrix).all():
            found.append(one_sided_matrix(matrix) if one_sided else proper(matrix))
    return found


def _shares(values: Floats) -> Floats:
    """(2,), how often a 0/1 label is absent and present."""
    present = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    return np.array([1 - present, present])


def proper(matrix: Floats) -> Floats:
    """The nearest matrix whose rows are shares."""
    absent = np.clip(matrix[:, 0], 0.0, 1.0)
    return np.stack([absent, 1 - absent], axis=1)


def one_sided_matrix(matrix: Floats) -> Floats:
    """The same where absent labels are never given."""
    found = proper(matrix)
    found[0] = 1.0, 0.0
    return found


def _nearest_to_others(solutions: list[Floats]) -> Floats:
    """The solution with the least sum of distances to the others."""
    stacked = np.stack(solutions)
    distances = np.abs(stacked[:, None] - stacked[None]).sum(axis=(2, 3))
    found: Floats = stacked[distances.sum(axis=1).argmin()]
    return found


def anchor(noisy: Floats, probabilities: Floats, quantile: float = 0.97) -> Transitions:
    """The T-estimator: the noisy posterior at an anchor, the image surest of the value (at a quantile, against outliers).

    Anchors are taken among the images that are given the value (ours): among all, a quantile of a rare label is no anchor.
    """
    matrices = np.stack([_anchored(noisy[:, j], probabilities[:, j], quantile) for j in range(noisy.shape[1])])
    return Transitions(matrices, ("anchor",) * noisy.shape[1])


def _anchored(noisy: Floats, probability: Floats, quantile: float) -> Floats:
    low, high = np.quantile(probability[noisy == 0], 1 - quantile), np.quantile(probability[noisy == 1], quantile)
    return np.array([[1 - low, low], [1 - high, high]])


def dual(noisy: Floats, probabilities: Floats, quantile: float = 0.97) -> Transitions:
    """Dual-T: from the clean to the network's own label by anchors, from that to the noisy one by counting; their product.

    A label that the network names, or that is given, on too few images is left as it is: the identity, `none`.
    """
    matrices, how = [], []
    for j in range(noisy.shape[1]):
        known = np.isfinite(noisy[:, j])
        said = (probabilities[known, j] > 0.5).astype(np.float64)
        values = noisy[known, j]
        if said.sum() < LEAST_SELECTED or not 0 < values.mean() < 1:
            matrices.append(np.eye(2))
            how.append("none")
            continue
        cells = counted_joint(said, values)
        second = (cells + 1e-9) / (cells + 1e-9).sum(axis=1, keepdims=True)
        matrices.append(proper(_anchored(noisy[:, j], probabilities[:, j], quantile) @ second))
        how.append("dual")
    return Transitions(np.stack(matrices), tuple(how))
