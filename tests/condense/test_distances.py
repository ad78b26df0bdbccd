"""What the distances are, exactly."""

import numpy as np
import pytest
import torch
from refusals import refused_as

from pd.condense import dm, m3d
from pd.condense.augment import KINDS, Change, apply, draw
from pd.condense.formation import packed, parts, unpack
from pd.config import parse_settings


def rows(n, seed, d=7):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_distribution_has_no_distance_from_itself():
    same = rows(9, 1)
    assert abs(float(m3d.distance(same, same))) < 1e-12
    assert float(dm.distance(same, same)) == 0
    assert float(m3d.distance(rows(9, 1), rows(6, 2) + 3)) > 0.5


def test_the_linear_kernel_is_dm():
    real, made = rows(9, 1), rows(4, 2)
    assert float(m3d.linear(real, made)) == pytest.approx(float(dm.distance(real, made)), abs=1e-6)


def test_mmd_sees_what_means_do_not():
    real = rows(200, 1)
    made = torch.cat([3 * real, -3 * real])
    real = torch.cat([real, -real])
    assert float(dm.distance(real, made)) < 1e-12 < 0.01 < float(m3d.distance(real, made))


@pytest.mark.parametrize("distance", [dm.distance, m3d.linear])
def test_gradients(distance):
    made = rows(3, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: distance(rows(5, 1, 4), given), (made,))


def test_the_kernels_gradient_where_its_width_is_held():
    real, made = rows(5, 1, 4), rows(3, 2, 4).requires_grad_()
    m3d.distance(real, made).backward()
    both = torch.cat([real, made.detach()])
    width = (torch.cdist(both, both) ** 2).sum() / (8 * 7)

    def held(given):
        def kernel(a, b):
            return sum(torch.exp(-(torch.cdist(a, b) ** 2) / (width * m)) for m in m3d.WIDTHS).mean()

        return kernel(real, real) - 2 * kernel(real, given) + kernel(given, given)

    step = torch.zeros_like(made)
    step[1, 2] = 1e-5
    with torch.no_grad():
        slope = (held(made + step) - held(made - step)) / 2e-5
    assert float(made.grad[1, 2]) == pytest.approx(float(slope), rel=1e-4)


def test_parts_are_what_was_packed():
    given = torch.rand(8, 1, 8, 8)
    stored = packed(given, 2)
    assert stored.shape == (2, 1, 8, 8)
    small = torch.nn.functional.avg_pool2d(given, 2)
    assert torch.equal(stored[0, :, :4, 4:], small[1])
    again = parts(stored, 2)
    assert again.shape == given.shape
    assert torch.equal(again[5], torch.nn.functional.interpolate(small[5:6], size=(8, 8), mode="bilinear")[0])
    assert torch.equal(parts(given, 1), given)
    flat = np.full((1, 8, 8, 3), 77, np.uint8)
    assert (unpack(flat, 2) == 77).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_is_the_same_for_all_and_differentiable(kind):
    images = torch.rand(1, 3, 8, 8).expand(2, 3, 8, 8).clone().requires_grad_()
    changed = apply(images, Change(kind, 0.3, 0.6, 0.9))
    assert changed.shape == images.shape
    torch.testing.assert_close(changed[0], changed[1])
    changed.sum().backward()
    assert torch.isfinite(images.grad).all()


def test_changes_follow_from_the_generator():
    first, second = (draw(torch.Generator().manual_seed(4)) for _ in range(2))
    assert first == second


def test_a_side_that_does_not_divide_is_refused_with_the_settings():
    with refused_as("bad-value", "condense.factor", "3", "data.size", "32"):
        parse_settings({"condense": {"labels": ["a"], "factor": 3}, "data": {"size": 32}})


def test_a_side_that_does_not_divide():
    from pd.condense.formation import refuse_odd

    with refused_as("bad-size", "condense.factor"):
        refuse_odd(9, 2)
