import copy

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from pd.diffusion.components import Components
from pd.diffusion.cpu.training_unet import quicken

ROWS = torch.tensor([2, 0, 1, 1, 0, 0])


def gradients(unet: UNet2DConditionModel, text: Tensor, rows: Tensor | None, bf16: bool = False) -> list[Tensor]:
    """The prediction, and the gradients of the text and of all weights."""
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(len(ROWS), unet.config.in_channels, 8, 8, generator=draw)
    text = text.clone().requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        if rows is None:
            predicted = unet(latents, torch.arange(len(ROWS)), text[ROWS]).sample
        else:
            predicted = unet(latents, torch.arange(len(ROWS)), text, cross_attention_kwargs={"rows": rows}).sample
    unet.zero_grad()
    (predicted.float() * torch.randn(predicted.shape, generator=draw)).sum().backward()
    assert text.grad is not None
    found = [parameter.grad for parameter in unet.parameters()]
    return [predicted.detach().float(), text.grad, *(grad.clone() for grad in found if grad is not None)]


def texts(unet: UNet2DConditionModel) -> Tensor:
    return torch.randn(3, 7, unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1))


def test_the_same_sums_and_gradients_as_the_stock_unet(components: Components) -> None:
    unet = components.unet.train()
    quick = copy.deepcopy(unet)
    assert quicken(quick)
    theirs, mine = gradients(unet, texts(unet), None), gradients(quick, texts(unet), ROWS)
    assert len(theirs) == len(mine) > 50
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_bfloat16_loses_no_more_than_the_stock_unet_does(components: Components) -> None:
    unet = components.unet.train()
    quick = copy.deepcopy(unet)
    quicken(quick)
    exact = torch.cat([value.flatten() for value in gradients(unet, texts(unet), None)])
    theirs = torch.cat([value.flatten() for value in gradients(unet, texts(unet), None, bf16=True)])
    mine = torch.cat([value.flatten() for value in gradients(quick, texts(unet), ROWS, bf16=True)])
    assert 0 < (mine - exact).norm() < 1.3 * (theirs - exact).norm()


def test_weights_and_their_names_stay(components: Components) -> None:
    before = {name: value.clone() for name, value in components.unet.state_dict().items()}
    quicken(components.unet)
    torch.testing.assert_close(components.unet.state_dict(), before, rtol=0, atol=0)


def test_another_kind_of_unet_stays_as_it_is(components: Components) -> None:
    config = {name: value for name, value in components.unet.config.items() if not name.startswith("_")}
    other = UNet2DConditionModel(**config | {"resnet_time_scale_shift": "scale_shift"})
    processors = {name: type(processor) for name, processor in other.attn_processors.items()}
    assert not quicken(other)
    assert {name: type(processor) for name, processor in other.attn_processors.items()} == processors
