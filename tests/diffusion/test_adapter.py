from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from pd.config import DataSettings, ModelSettings
from pd.diffusion.adapter import choose_trained, merge
from pd.diffusion.components import Components, build
from pd.diffusion.export import export


def settings(base: Path, **options: object) -> ModelSettings:
    return ModelSettings.model_validate({"base": str(base), "autoencoder": "base", "adapter": "lora", "lora_rank": 2} | options)


def predict(parts: Components) -> Tensor:
    """The UNet's prediction (3, c, h, w) from fixed noise and tokens."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, *parts.latent_shape, generator=generator)
    tokens = torch.randint(0, 1000, (3, 77), generator=generator)
    with torch.no_grad():
        text = parts.text_encoder.eval()(tokens)[0]
        found: Tensor = parts.unet.eval()(noise, torch.tensor([0, 500, 999]), text).sample
    return found


def disturb(parts: Components) -> list[str]:
    """Stand in for training: move all that is trained. Returns its names."""
    generator = torch.Generator().manual_seed(1)
    moved = []
    for part, module in (("unet", parts.unet), ("text_encoder", parts.text_encoder)):
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
                moved.append(f"{part}.{name}")
    return moved


def test_training_starts_at_the_base_from_additions_that_only_the_seed_decides(
    base: Path, components: Components, data: DataSettings
) -> None:
    before = torch.get_rng_state()
    one, same, other = (build(settings(base), data, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(predict(one), predict(components))
    for part in ("unet", "text_encoder"):
        a, b, c = (getattr(model, part).state_dict() for model in (one, same, other))
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert {name.split(".")[-3] for name in a if not torch.equal(a[name], c[name])} == {"lora_A"}


def test_it_sits_on_every_attention_projection_and_nowhere_else(base: Path, data: DataSettings) -> None:
    parts = build(settings(base), data, 1)
    for module in (parts.unet, parts.text_encoder):
        choose_trained(module, "lora")
    assert disturb(parts)
    unet = {name.split(".lora_")[0] for name, p in parts.unet.named_parameters() if p.requires_grad}
    assert {name.split("attn", 1)[1][2:] for name in unet} == {"to_q", "to_k", "to_v", "to_out.0"}
    plain = [name for name, module in parts.unet.named_modules() if name.endswith((".attn1", ".attn2"))]
    assert len(unet) == 4 * len(plain) > 0
    text = {name.split(".")[-4] for name, p in parts.text_encoder.named_parameters() if p.requires_grad}
    assert text == {"q_proj", "k_proj", "v_proj", "out_proj"}


@pytest.mark.parametrize("options", [{}, {"lora_alpha": 1.0}, {"train_text_encoder": "frozen"}, {"train_unet": "full"}])
def test_a_merged_model_predicts_what_it_did_and_stock_diffusers_loads_it(
    base: Path, components: Components, data: DataSettings, options: dict[str, object], tmp_path: Path
) -> None:
    chosen = settings(base, **options)
    parts = build(chosen, data, 1)
    choose_trained(parts.unet, chosen.unet_training)
    choose_trained(parts.text_encoder, chosen.text_encoder_training)
    moved = disturb(parts)
    assert any("lora" in name for name in moved)
    expected = predict(parts)
    assert (expected - predict(components)).abs().max() > 0.01
    for module in (parts.unet, parts.text_encoder):
        merge(module)
    torch.testing.assert_close(predict(parts), expected, atol=1e-5, rtol=1e-5)
    export(parts, tmp_path / "out")
    stock = StableDiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    assert stock.unet.state_dict().keys() == components.unet.state_dict().keys()
    assert stock.text_encoder.state_dict().keys() == components.text_encoder.state_dict().keys()
    found = Components(stock.unet, stock.vae, stock.text_encoder, stock.tokenizer, stock.scheduler)
    torch.testing.assert_close(predict(found), expected, atol=1e-5, rtol=1e-5)


def test_merging_what_has_no_additions_changes_nothing(components: Components) -> None:
    before = predict(components)
    merge(components.unet)
    assert torch.equal(predict(components), before)
