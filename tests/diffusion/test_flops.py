import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from pd.diffusion.components import Components
from pd.diffusion.flops import training_flops
from pd.diffusion.presets import TEXT_MODELS, UNETS


def test_stable_diffusion_2_takes_what_is_known_of_it() -> None:
    """0.181 TFLOP forward for an image of 256 pixels; a training about three times that."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNETS["sd"], in_channels=4, out_channels=4, cross_attention_dim=1024)
    assert sum(parameter.numel() for parameter in unet.parameters()) == pytest.approx(866e6, rel=0.001)
    trained = training_flops(unet, None, (4, 32, 32), 77)
    forward = training_flops(unet.requires_grad_(False), None, (4, 32, 32), 77)
    assert forward.image == pytest.approx(0.181e12, rel=0.02)
    assert trained.image == pytest.approx(3 * 0.181e12, rel=0.02)
    assert trained.caption == forward.caption == 0


def test_a_text_encoder_is_the_sum_of_its_matrix_products() -> None:
    shape = TEXT_MODELS["small"]
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(**shape, vocab_size=100, max_position_embeddings=77))
        unet = UNet2DConditionModel(**UNETS["tiny"], sample_size=8, cross_attention_dim=shape["hidden_size"])
    width, inner, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    products = 77 * (4 * width * width + 2 * width * inner) + 2 * 77 * 77 * width
    forward = training_flops(unet, text.requires_grad_(False), (4, 8, 8), 77).caption
    assert forward == pytest.approx(layers * 2 * products, rel=0.01)
    trained = training_flops(unet, text.requires_grad_(True), (4, 8, 8), 77)
    assert trained.caption == pytest.approx(3 * forward, rel=0.03)
    # The text encoder's gradient comes through the UNet's attention: more than when its embeddings are given.
    assert trained.image > training_flops(unet, None, (4, 8, 8), 77).image


def test_it_is_what_a_real_step_does(components: Components) -> None:
    unet, text = components.unet.train(), components.text_encoder.train()
    tokens = components.tokenizer.model_max_length
    expected = training_flops(unet, text, components.latent_shape, tokens)
    with FlopCounterMode(display=False) as counter:
        embeddings = text(torch.zeros(1, tokens, dtype=torch.int64))[0]
        unet(torch.zeros(1, *components.latent_shape), torch.zeros(1, dtype=torch.int64), embeddings).sample.sum().backward()
    # The processor's own attention computes some of its products again in the backward pass.
    assert expected.total(1, 1) == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert expected.total(64, 3) == 64 * expected.image + 3 * expected.caption


def test_frozen_weights_need_no_gradient_and_recomputation_does_not_count(components: Components) -> None:
    unet, shape = components.unet.train(), components.latent_shape
    whole = training_flops(unet, None, shape, 77).image
    unet.enable_gradient_checkpointing()
    assert training_flops(unet, None, shape, 77).image == whole
    assert unet.is_gradient_checkpointing
    unet.requires_grad_(False)
    forward = training_flops(unet, None, shape, 77).image
    unet.conv_in.requires_grad_(True)  # the first layer's gradient comes through all others
    assert 1.9 * forward < training_flops(unet, None, shape, 77).image < 2.1 * forward


def test_counting_changes_nothing(components: Components) -> None:
    before = {name: value.clone() for name, value in components.unet.state_dict().items()}
    state = torch.get_rng_state()
    training_flops(components.unet, components.text_encoder, components.latent_shape, 77)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in components.unet.state_dict().items())
    assert all(parameter.grad is None for parameter in components.unet.parameters())
