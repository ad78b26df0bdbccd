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


def test_the_interval_of_fid_holds_what_other_draws_give() -> None:
    usual = np.mean([frechet(features(90, seed=draw), features(70, shift=0.3, seed=1000 + draw)) for draw in range(200)])
    found = [fidelity(features(90, seed=draw), features(70, shift=0.3, seed=2000 + draw), seed=draw).fid for draw in range(30)]
    assert sum(fid.low <= usual <= fid.high for fid in found) >= 27
    assert found[0].value == frechet(features(90), features(70, shift=0.3, seed=2000))
    assert found[0].n == 70
    more = fidelity(features(900), features(700, shift=0.3, seed=1), seed=0).fid
    assert more.high - more.low < np.median([fid.high - fid.low for fid in found]) / 2


def test_kid_holds_0_for_one_distribution_and_not_for_two() -> None:
    same = fidelity(features(300), features(200, seed=1), seed=0).kid
    assert same.low < 0 < same.high
    other = fidelity(features(300), features(200, shift=1.0, seed=1), seed=0)
    assert other.kid.low > 0
    assert other.kid.n == 200
    assert other.subset == 100
    assert other == fidelity(features(300), features(200, shift=1.0, seed=1), seed=0)


def test_subsets_and_groups_are_of_whole_people() -> None:
    rng = np.random.default_rng(3)
    people = [f"p{row // 10}" for row in range(200)]
    rows = (3 * np.repeat(rng.normal(size=(20, 6)), 10, axis=0) + 0.1 * rng.normal(size=(200, 6))).astype(np.float32)
    others = (3 * np.repeat(rng.normal(size=(20, 6)), 10, axis=0) + 0.1 * rng.normal(size=(200, 6))).astype(np.float32)
    alone, together = (fidelity(rows, others, seed=0, real_people=names, people=names) for names in (None, people))
    # Pictures of one person are one draw: twenty people a side say far less than 200 pictures would.
    for key in ("fid", "kid"):
        one, two = getattr(alone, key), getattr(together, key)
        assert two.high - two.low > 1.5 * (one.high - one.low)
    assert alone.fid.value == together.fid.value


@pytest.mark.parametrize(("real", "fake"), [([1, 9], [1] * 8), ([5, 5], [8, 1]), ([9, 1], [1, 9])])
def test_two_people_of_unequal_shares_have_an_interval(real: list[int], fake: list[int]) -> None:
    """A group of people may be all pictures but one; then groups are of pictures."""
    names = [[f"p{who}" for who, count in enumerate(counts) for _ in range(count)] for counts in (real, fake)]
    found = fidelity(features(sum(real)), features(sum(fake), seed=1), seed=0, real_people=names[0], people=names[1]).fid
    assert np.isfinite([found.low, found.high]).all()
    assert found.low <= found.value <= found.high
