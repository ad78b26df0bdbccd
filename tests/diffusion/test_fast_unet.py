from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from pd.diffusion.cpu.fast_unet import FastUNet

CPU = torch.device("cpu")
TEXTS = [torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(text)) for text in range(3)]
ROWS = [0, 0, 0, 2, 1, 2]


def unet(down: tuple[str, ...], up: tuple[str, ...], **changes: Any) -> UNet2DConditionModel:
    """A small UNet of random weights, loud enough in its attentions for the text to count."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = UNet2DConditionModel(
            **{
                "down_block_types": down,
                "up_block_types": up,
                "block_out_channels": (16, 32),
                "layers_per_block": 1,
                "in_channels": 4,
                "out_channels": 4,
                "cross_attention_dim": 16,
                "attention_head_dim": 2,
                "norm_num_groups": 8,
            }
            | changes
        )
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "attn2.to_v" in name or "attn2.to_out" in name:
                parameter.mul_(30)
    return made.eval()


SHAPES: dict[str, dict[str, Any]] = {
    "text from the second level on": {
        "down": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up": ("CrossAttnUpBlock2D", "UpBlock2D"),
    },
    "text on every level, linear projections": {
        "down": ("CrossAttnDownBlock2D",) * 2,
        "up": ("CrossAttnUpBlock2D",) * 2,
        "use_linear_projection": True,
    },
    "text in the middle only": {"down": ("DownBlock2D",) * 2, "up": ("UpBlock2D",) * 2},
    "other blocks": {
        "down": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        "up": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    },
    "another activation": {
        "down": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "act_fn": "gelu",
    },
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("side", [8, 6])
@torch.inference_mode()
def test_predictions_are_the_stock_unets(shape: dict[str, Any], side: int) -> None:
    stock, fast = unet(**shape), FastUNet(unet(**shape), CPU)
    latents = torch.randn(6, 4, side, side, generator=torch.Generator().manual_seed(9))
    text = torch.cat(TEXTS)[ROWS]
    fast.set_text(TEXTS, ROWS)
    halves = torch.cat([latents[:3], latents[:3]])
    for timestep in (torch.tensor(999), torch.tensor(10)):
        for given, rows in ((latents, latents), (latents[:3], halves)):  # plain; guided: one half given
            wanted = stock(rows, timestep, text).sample
            assert torch.allclose(fast(given, timestep), wanted, atol=2e-5 * wanted.abs().max().item(), rtol=0)
    other = torch.cat(TEXTS)[[1, 1, 1, 1, 1, 1]]
    assert (stock(halves, timestep, other).sample - wanted).abs().max() > 1e-2 * wanted.abs().max()  # the text counts


@torch.inference_mode()
def test_a_size_that_does_not_halve_evenly() -> None:
    shape = SHAPES["text from the second level on"]
    latents = torch.randn(6, 4, 7, 7, generator=torch.Generator().manual_seed(9))
    fast = FastUNet(unet(**shape), CPU)
    fast.set_text(TEXTS, ROWS)
    wanted = unet(**shape)(latents, torch.tensor(10), torch.cat(TEXTS)[ROWS]).sample
    assert torch.allclose(fast(latents, torch.tensor(10)), wanted, atol=2e-5 * wanted.abs().max().item(), rtol=0)


@torch.inference_mode()
def test_bfloat16_is_near_and_comes_back_as_float32() -> None:
    shape = SHAPES["text from the second level on"]
    latents = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        fast = FastUNet(unet(**shape), CPU, dtype)
        fast.set_text(TEXTS, ROWS)
        found[dtype] = fast(latents, torch.tensor(10))
    difference = (found[torch.bfloat16] - found[torch.float32]).abs().max()
    assert found[torch.bfloat16].dtype == torch.float32
    assert 0 < difference < 0.05 * found[torch.float32].abs().max()


def test_it_compiles_to_one_graph_whatever_the_text() -> None:
    """What a GPU does, without its code generator: another text must neither break the graph nor be a constant in it."""
    shape = SHAPES["text from the second level on"]
    plain, traced = (FastUNet(unet(**shape), CPU) for _ in range(2))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    traced.unet.compile(backend="eager", fullgraph=True)
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    for rows in (ROWS, ROWS[::-1]):
        for network in (plain, traced):
            network.set_text(TEXTS, rows)
        with torch.inference_mode():
            for step in (torch.tensor(900), torch.tensor(20)):
                torch.testing.assert_close(traced(latents, step), plain(latents, step))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
