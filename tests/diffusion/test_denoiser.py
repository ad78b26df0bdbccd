import copy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pd.config import DataSettings, ModelSettings
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import Components, build
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.objective import draw

SETTINGS = ModelSettings(unet="tiny")
CAPTIONS = ["with glasses", "with a beard"] * 4


def objective(denoiser: Denoiser, components: Components, step: int, micro_batch: int = 8) -> Iterator[torch.Tensor]:
    """Losses of the micro-batches of a step, which add up to the step's; the 8 images are two, one for each caption."""
    table = CaptionTable(components.tokenizer, CAPTIONS)
    latents = torch.randn(2, *components.latent_shape, generator=torch.Generator().manual_seed(0)).repeat(4, 1, 1, 1)
    batch = draw(1, step, batch=8, images=8, latent_shape=components.latent_shape, caption_dropout=0.1)
    for start in range(0, 8, micro_batch):
        part = batch.part(start, start + micro_batch)
        text, rows = table.batch(part.indices, part.drop)
        yield denoiser(latents[part.indices], part.noise, part.timesteps, text, rows) * micro_batch / 8


def train(components: Components, micro_batch: int, steps: int) -> list[float]:
    denoiser = Denoiser(components, SETTINGS)
    # not Adam: it blows rounding up where a gradient is near 0
    optimiser = torch.optim.SGD(denoiser.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(steps):
        parts = []
        for value in objective(denoiser, components, step, micro_batch):
            value.backward()
            parts.append(value.item())
        optimiser.step()
        optimiser.zero_grad()
        losses.append(sum(parts))
    return losses


def test_training_lowers_the_loss_and_reaches_every_weight(components: Components) -> None:
    denoiser = Denoiser(components, SETTINGS)
    before = {name: p.detach().clone() for name, p in denoiser.named_parameters()}
    with torch.no_grad():
        untrained = sum(value.item() for step in range(100, 110) for value in objective(denoiser, components, step))
    train(components, 8, 80)
    with torch.no_grad():
        trained = sum(value.item() for step in range(100, 110) for value in objective(denoiser, components, step))
    assert trained < 0.7 * untrained
    assert {name.split(".")[0] for name in before} == {"unet", "text_encoder"}
    assert [name for name, p in denoiser.named_parameters() if torch.equal(before[name], p)] == []


def test_micro_batches_train_the_same_weights(components: Components) -> None:
    other = copy.deepcopy(components)
    torch.testing.assert_close(train(components, 8, 5), train(other, 2, 5), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(components.unet.state_dict(), other.unet.state_dict(), rtol=1e-3, atol=1e-5)


def test_a_frozen_text_encoder_is_no_part_of_it_and_embeddings_do(components: Components) -> None:
    trained = Denoiser(components, SETTINGS)
    frozen = Denoiser(components, SETTINGS.model_copy(update={"train_text_encoder": "frozen"}))
    assert not any(name.startswith("text_encoder") for name, _ in frozen.named_parameters())
    table = CaptionTable(components.tokenizer, CAPTIONS)
    batch = draw(1, 0, batch=8, images=8, latent_shape=components.latent_shape, caption_dropout=0.1)
    latents = torch.randn(8, *components.latent_shape, generator=torch.Generator().manual_seed(0))
    tokens, rows = table.batch(batch.indices, batch.drop)
    embeddings = embed(components.text_encoder, tokens)
    with torch.no_grad():
        one = trained(latents, batch.noise, batch.timesteps, tokens, rows)
        two = frozen(latents, batch.noise, batch.timesteps, embeddings, rows)
    torch.testing.assert_close(one, two)


def test_the_schedule_survives_bfloat16(components: Components) -> None:
    denoiser = Denoiser(components, SETTINGS).to(torch.bfloat16)
    batch = draw(1, 0, batch=8, images=8, latent_shape=components.latent_shape, caption_dropout=0.0)
    text, rows = CaptionTable(components.tokenizer, CAPTIONS).batch(batch.indices, batch.drop)
    timesteps = torch.tensor([0, 1, 2, 500, 900, 997, 998, 999])
    value = denoiser(torch.zeros(8, *components.latent_shape), batch.noise, timesteps, text, rows)
    assert value.dtype == torch.float32
    assert value.isfinite()


MODES = [("lora", "lora"), ("lora", "frozen"), ("full", "lora"), ("frozen", "full"), ("frozen", "lora")]


@pytest.mark.parametrize(("unet", "text_encoder"), MODES)
def test_only_what_is_trained_gets_gradients(base: Path, data: DataSettings, unet: str, text_encoder: str) -> None:
    chosen = {"base": str(base), "autoencoder": "base", "train_unet": unet, "train_text_encoder": text_encoder}
    parts = build(ModelSettings.model_validate(chosen), data, 1)
    denoiser = Denoiser(parts, ModelSettings.model_validate(chosen))
    for name, parameter in denoiser.named_parameters():
        if "lora_B" in name:  # zero at first, which leaves its partner without a gradient
            parameter.data.fill_(0.1)
    table = CaptionTable(parts.tokenizer, CAPTIONS)
    batch = draw(1, 0, batch=8, images=8, latent_shape=parts.latent_shape, caption_dropout=0.1)
    text, rows = table.batch(batch.indices, batch.drop)
    if text_encoder == "frozen":
        text = embed(parts.text_encoder, text)
    denoiser(torch.randn(8, *parts.latent_shape), batch.noise, batch.timesteps, text, rows).backward()
    how = {"unet": unet, "text_encoder": text_encoder}
    expected = {
        name
        for name, _ in denoiser.named_parameters()
        if how[name.split(".")[0]] == "full" or (how[name.split(".")[0]] == "lora" and "lora_" in name)
    }
    assert {name for name, p in denoiser.named_parameters() if p.grad is not None and p.grad.abs().max() > 0} == expected
    assert {name for name, p in denoiser.named_parameters() if p.requires_grad} == expected


def test_gradient_checkpointing_gives_the_same_gradients(components: Components) -> None:
    gradients = []
    for checkpointing in (False, True):
        parts = copy.deepcopy(components)
        denoiser = Denoiser(parts, SETTINGS.model_copy(update={"gradient_checkpointing": checkpointing}))
        calls: list[str] = []
        for module in (parts.unet.up_blocks[0].resnets[0].norm1, parts.text_encoder.encoder.layers[0].layer_norm1):
            module.register_forward_pre_hook(lambda module, _, calls=calls: calls.append(type(module).__name__))
        next(objective(denoiser, parts, 0)).backward()
        assert Counter(calls) == dict.fromkeys(["GroupNorm", "LayerNorm"], 2 if checkpointing else 1)
        gradients.append({name: p.grad for name, p in denoiser.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("trained", ["full", "frozen"])
def test_a_blank_batch_is_one_that_it_takes(components: Components, trained: str) -> None:
    denoiser = Denoiser(components, SETTINGS.model_copy(update={"train_text_encoder": trained}))
    given = denoiser.blank(3, torch.device("cpu"))
    assert len(given[3]) == 3  # a caption for each row
    assert denoiser(*given).isfinite()
