"""Fidelity: FID and KID with named features. Only Inception-v3 features may be called plain FID, and these are not."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, from_draws

Features = npt.NDArray[np.float32]

_SUBSETS = 100
_SUBSET_SIZE = 200


@dataclass(frozen=True)
class Fidelity:
    """Distances between the features of two sets of images.

    Attributes:
        fid: Frechet distance. Without interval: it is biased upward by small n, and a resample's is more so.
        kid: kernel distance, unbiased; the interval holds 95 % of its values on random subsets.
        subset: images in a subset.
    """

    fid: float
    kid: Estimate
    subset: int


def fidelity(real: Features, synthetic: Features, *, seed: int) -> Fidelity:
    """FID and KID of (N, d) and (M, d) features, N and M at least 4."""
    return Fidelity(frechet(real, synthetic), *_kernel(real, synthetic, seed))


def frechet(real: Features, synthetic: Features) -> float:
    """||m1 - m2||^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Heusel et al. 2017), equal to torchmetrics' on the same features.

    tr (S1 S2)^(1/2) is the nuclear norm of R1 R2^T for QR factors R of the centred features over sqrt(n - 1): exact
    with fewer images than features, where the root of a product of singular matrices is not, and many times faster.
    """
    factors: list[npt.NDArray[np.float64]] = []
    for rows in (real, synthetic):
        centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
        factors.append(np.asarray(np.linalg.qr(centred / np.sqrt(len(rows) - 1), mode="r")))
    means = real.mean(axis=0, dtype=np.float64) - synthetic.mean(axis=0, dtype=np.float64)
    nuclear = float(np.linalg.norm(factors[0] @ factors[1].T, "nuc"))
    traces = sum(float(np.square(factor).sum()) for factor in factors)
    return float(means @ means) + traces - 2 * nuclear


def _kernel(real: Features, synthetic: Features, seed: int) -> tuple[Estimate, int]:
    """KID (Binkowski et al. 2018) on 100 random subsets, with torchmetrics' unbiased polynomial-kernel estimate."""
    import torch
    from torchmetrics.image.kid import poly_mmd

    rng = np.random.default_rng(seed)
    size = min(_SUBSET_SIZE, len(real) // 2, len(synthetic) // 2)
    values = []
    for _ in range(_SUBSETS):
        pair = [torch.from_numpy(rows[rng.permutation(len(rows))[:size]]).double() for rows in (real, synthetic)]
        values.append(float(poly_mmd(*pair)))
    return from_draws(float(np.mean(values)), np.array(values), min(len(real), len(synthetic))), size
