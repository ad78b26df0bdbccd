"""Fidelity: Frechet and kernel distance with named features.

Only of Inception-v3 features may they be called FID and KID: the values that papers publish live on their scale alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from pd.audit.estimate import CONFIDENCE, Estimate, from_draws, number

Features = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]

_SUBSETS = 100
_SUBSET_SIZE = 200
_GROUPS = 10


@dataclass(frozen=True)
class Fidelity:
    """Distances between the features of two sets of images.

    Attributes:
        fid: Frechet distance, biased upward by small n; the interval, by jackknife, is of its expectation at these n.
        kid: kernel distance, unbiased; low to high hold 95 % of its values on random subsets, which is no interval of
            their mean: it does not narrow as images grow more.
        subset: images in a subset.
    """

    fid: Estimate
    kid: Estimate
    subset: int


People = Sequence[str] | None
"""Whose each row is; None: each another's."""


def fidelity(real: Features, synthetic: Features, *, seed: int, real_people: People = None, people: People = None) -> Fidelity:
    """FID and KID of (N, d) and (M, d) features, N and M at least 4.

    Args:
        real: of real images.
        synthetic: of those that are compared.
        seed: of groups and subsets.
        real_people: whose the real images are: groups and subsets are drawn by person, for one's images are alike.
        people: whose the others are.
    """
    whose = tuple(
        np.arange(len(rows)) if names is None else number(names) for rows, names in ((real, real_people), (synthetic, people))
    )
    return Fidelity(_frechet(real, synthetic, whose, seed), *_kernel(real, synthetic, whose, seed))


def frechet(real: Features, synthetic: Features) -> float:
    """||m1 - m2||^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Heusel et al. 2017), equal to torchmetrics' on the same features.

    tr (S1 S2)^(1/2) is the nuclear norm of F1 F2^T for centred features F over sqrt(n - 1), or their QR factors where all
    are more images than features: exact with fewer images than features, where the root of a product of singular matrices is
    not, and many times faster.
    """
    factors: list[npt.NDArray[np.float64]] = []
    many = min(len(real), len(synthetic)) > real.shape[1]
    for rows in (real, synthetic):
        factor = (rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)) / np.sqrt(len(rows) - 1)
        factors.append(np.asarray(np.linalg.qr(factor, mode="r")) if many else factor)
    means = real.mean(axis=0, dtype=np.float64) - synthetic.mean(axis=0, dtype=np.float64)
    nuclear = float(np.linalg.norm(factors[0] @ factors[1].T, "nuc"))
    traces = sum(float(np.square(factor).sum()) for factor in factors)
    return float(means @ means) + traces - 2 * nuclear


def _frechet(real: Features, synthetic: Features, whose: tuple[Codes, ...], seed: int) -> Estimate:
    """FID with a delete-a-group jackknife's interval (Efron & Stein 1981): resamples would shift a biased value.

    Every group leaves out its share of both sets, so that what a smaller n adds is common to all groups and no variance.
    """
    rng = np.random.default_rng(seed)
    counts = [int(codes.max()) + 1 for codes in whose]
    groups = max(min(_GROUPS, *(count // 2 for count in counts)), 2)
    of_real, of_synthetic = (rng.permutation(count)[codes] % groups for count, codes in zip(counts, whose, strict=True))
    if min(int((of != group).sum()) for of in (of_real, of_synthetic) for group in range(groups)) < 2:
        # Of so few people one holds nearly all pictures: groups are of pictures then.
        of_real, of_synthetic = (rng.permutation(len(rows)) % groups for rows in (real, synthetic))
    values = np.array([frechet(real[of_real != group], synthetic[of_synthetic != group]) for group in range(groups)])
    error = float(np.sqrt((groups - 1) / groups * np.square(values - values.mean()).sum()))
    value, reach = frechet(real, synthetic), float(stats.t.ppf((1 + CONFIDENCE) / 2, groups - 1)) * error
    return Estimate(value, max(0.0, value - reach), value + reach, len(synthetic))


def _kernel(real: Features, synthetic: Features, whose: tuple[Codes, ...], seed: int) -> tuple[Estimate, int]:
    """KID (Binkowski et al. 2018) on 100 random subsets, with torchmetrics' unbiased polynomial-kernel estimate."""
    import torch
    from torchmetrics.image.kid import poly_mmd

    rng = np.random.default_rng(seed)
    size = min(_SUBSET_SIZE, len(real) // 2, len(synthetic) // 2)
    values = []
    for _ in range(_SUBSETS):
        pair = [
            torch.from_numpy(rows[_subset(codes, size, rng)]).double()
            for rows, codes in zip((real, synthetic), whose, strict=True)
        ]
        values.append(float(poly_mmd(*pair)))
    return from_draws(float(np.mean(values)), np.array(values), min(len(real), len(synthetic))), size


def _subset(codes: Codes, size: int, rng: np.random.Generator) -> Codes:
    """So many rows of whole people, drawn at random; of the last one as many as fit."""
    order = rng.permutation(int(codes.max()) + 1)[codes]
    rows: Codes = np.argsort(order, kind="stable")[:size]
    return rows
