import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from pd.audit.fidelity import fidelity, frechet


class Given(torch.nn.Module):
    """Lets torchmetrics take features for images."""

    num_features = 6

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def features(n: int, shift: float = 0.0, seed: int = 0, dim: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(dim, dim))
    return (rng.normal(size=(n, dim)) @ mix + shift).astype(np.float32)


def test_fid_is_torchmetrics() -> None:
    real, fake = features(80), features(60, shift=0.7, seed=1)
    metric = FrechetInceptionDistance(feature=Given())
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake), real=False)
    assert frechet(real, fake) == pytest.approx(float(metric.compute()), rel=1e-4)


def test_fid_with_fewer_images_than_features_is_0_for_equal_sets() -> None:
    rows = features(12, dim=40)
    assert frechet(rows, rows) == pytest.approx(0.0, abs=1e-6)
    assert frechet(rows, rows + 1) == pytest.approx(40.0, rel=1e-4)


def test_kid_holds_0_for_one_distribution_and_not_for_two() -> None:
    same = fidelity(features(300), features(200, seed=1), seed=0).kid
    assert same.low < 0 < same.high
    other = fidelity(features(300), features(200, shift=1.0, seed=1), seed=0)
    assert other.kid.low > 0
    assert other.kid.n == 200
    assert other.subset == 100
    assert other == fidelity(features(300), features(200, shift=1.0, seed=1), seed=0)
