import pytest
import torch
from diffusers.models.upsampling import Upsample2D

from pd.diffusion.cpu.cell_upsample import CellUpsample


@pytest.mark.parametrize(("height", "width"), [(4, 4), (1, 5)])
@torch.inference_mode()
def test_pixels_are_the_stock_layers(height: int, width: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stock = Upsample2D(6, use_conv=True, out_channels=5).double()
        small = torch.randn(3, 6, height, width, dtype=torch.float64)
    ours = CellUpsample(stock)
    assert ours(small).shape == (3, 5, 2 * height, 2 * width)
    assert torch.allclose(ours(small), stock(small), atol=1e-12)
    odd = (2 * height - 1, 2 * width - 1)
    assert torch.equal(ours(small, odd), stock(small, odd))
