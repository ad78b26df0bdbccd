import copy

import pytest
import torch
from torch import nn

from pd.diffusion.cpu.training_conv import Convolution, convolve_in_bfloat16


@pytest.mark.parametrize("side", [4, 8, 12])  # patches by product, and too large for it
def test_the_same_gradients_as_torchs(side: int) -> None:
    torch.manual_seed(0)
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in [(3, 5, side, side), (7, 5, 3, 3), (7,)]]
    upstream = torch.randn(3, 7, side, side, dtype=torch.float64)
    mine = Convolution.apply(*given)
    theirs = torch.nn.functional.conv2d(*given, padding=1)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(torch.autograd.grad(mine, given, upstream), torch.autograd.grad(theirs, given, upstream))


def test_a_frozen_convolution_hands_gradients_on() -> None:
    images = torch.randn(2, 4, 4, 4, requires_grad=True)
    module = nn.Conv2d(4, 4, 3, padding=1).requires_grad_(False)
    convolve_in_bfloat16(module)
    with torch.autocast("cpu", torch.bfloat16):
        module(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert module.weight.grad is None


@pytest.mark.parametrize("size", [1, 3])
def test_in_bfloat16_as_exact_as_torchs(size: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 16, 8, 8)
    module = nn.Conv2d(16, 32, size, padding=size // 2)
    exact, plain = _all(module, images, bf16=False), _all(module, images, bf16=True)
    convolve_in_bfloat16(module)
    mine = _all(module, images, bf16=True)
    assert mine[0].dtype == torch.bfloat16
    assert mine[1].dtype == torch.float32  # the weight's gradient
    for one, other, truth in zip(mine, plain, exact, strict=True):
        assert (one.float() - truth).norm() < 1.5 * (other.float() - truth).norm() + 1e-3 * truth.norm()
    torch.testing.assert_close(_all(module, images, bf16=False), exact)  # float32 is left alone


def test_other_kernels_keep_their_forward() -> None:
    down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
    convolve_in_bfloat16(down)
    assert type(down) is nn.Conv2d


def test_a_copy_has_its_own_weights() -> None:
    module = nn.Conv2d(2, 2, 3, padding=1)
    convolve_in_bfloat16(module)
    other = copy.deepcopy(module)
    nn.init.zeros_(other.weight)
    nn.init.zeros_(other.bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert not other(torch.ones(1, 2, 4, 4)).any()


def _all(module: nn.Conv2d, images: torch.Tensor, bf16: bool) -> list[torch.Tensor]:
    """Result, gradient of the weight and of the bias."""
    module.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        result = module(images)
    result.float().square().mean().backward()
    assert module.weight.grad is not None
    assert module.bias is not None
    assert module.bias.grad is not None
    return [result.detach(), module.weight.grad.clone(), module.bias.grad.clone()]
