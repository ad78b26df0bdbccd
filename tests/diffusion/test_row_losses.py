import numpy as np
import pytest
import torch

from pd.audit.membership import loss_scores, membership
from pd.config import ModelSettings
from pd.diffusion.components import Components
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.objective import add_noise
from pd.diffusion.row_losses import TIMESTEPS, _noise, row_losses
from pd.diffusion.schedule import alphas

TEXTS = ["a photo of a face", "a photo of a face with glasses"]


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 1), dtype=np.uint8)


def names(count: int, word: str = "image") -> list[str]:
    return [f"{word} {number}" for number in range(count)]


def test_a_loss_is_the_mean_squared_error_of_the_stock_unet(components: Components) -> None:
    images, (text,) = pictures(1), TEXTS[:1]
    table = alphas(components.scheduler)
    tokens = components.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    noise = _noise(3, names(1), (1, *components.latent_shape))[:, 0]
    with torch.no_grad():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).expand(-1, 3, -1, -1) / 127.5 - 1
        latents = components.vae.encode(pixels).latent_dist.mode() * components.vae.config.scaling_factor
        noisy = add_noise(latents, noise, torch.tensor([400]), table)
        predicted = components.unet(noisy, torch.tensor(400), components.text_encoder(tokens)[0]).sample
        velocity = table[400].sqrt() * noise - (1 - table[400]).sqrt() * latents
    expected = float((predicted - velocity).square().mean())
    found = row_losses(components, images, names(1), [text], seed=3, timesteps=[400])
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx(expected, rel=1e-4)


def test_a_loss_is_a_function_of_seed_image_and_id_whatever_is_beside_it(components: Components) -> None:
    images, ids, texts = pictures(10), names(10), TEXTS * 5
    whole = row_losses(components, images, ids, texts, seed=3, batch=4)
    assert whole.shape == (10, len(TIMESTEPS))
    for rows in ([7], [9, 2], [3, 1, 4, 0, 5]):
        part = row_losses(components, images[rows], [ids[i] for i in rows], [texts[i] for i in rows], seed=3, batch=4)
        assert np.array_equal(part, whole[rows])
    other_batch = row_losses(components, images, ids, texts, seed=3, batch=3)
    assert np.allclose(other_batch, whole, rtol=1e-4)
    assert not np.allclose(row_losses(components, images, ids, texts, seed=4, batch=4), whole, rtol=1e-2)
    renamed = row_losses(components, images, names(10, "other"), texts, seed=3, batch=4)
    assert not np.allclose(renamed, whole, rtol=1e-2)


@pytest.mark.exhaustive
def test_a_model_that_learned_its_members_by_heart_gives_them_away_and_a_fresh_one_does_not(components: Components) -> None:
    members, strangers = pictures(30, seed=1), pictures(30, seed=5)

    def found() -> tuple[float, float, float]:
        images = np.concatenate([members, strangers])
        scores = loss_scores(row_losses(components, images, names(60), [""] * 60, seed=4))
        auc = membership(scores[:30], scores[30:], names(30), names(30), bootstrap=300, seed=0).auc
        return auc.low, auc.value, auc.high

    low, _, high = found()
    assert low <= 0.5 <= high
    _learn(components, members)
    low, value, _ = found()
    assert low > 0.5
    assert value > 0.65


def _learn(components: Components, images: np.ndarray) -> None:
    """Steps at the timesteps that are looked at, each time with new noise."""
    settings = ModelSettings(unet="tiny", train_text_encoder="frozen", warmup=0)
    denoiser = Denoiser(components, settings)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).expand(-1, 3, -1, -1) / 127.5 - 1
    with torch.no_grad():
        latents = components.vae.encode(pixels).latent_dist.mode() * components.vae.config.scaling_factor
        tokens = components.tokenizer([""], padding="max_length", return_tensors="pt").input_ids
        text = components.text_encoder(tokens)[0]
    optimizer = torch.optim.AdamW([p for p in denoiser.parameters() if p.requires_grad], lr=3e-3)
    chance = torch.Generator().manual_seed(0)
    for _ in range(300):
        times = torch.tensor(TIMESTEPS)[torch.randint(len(TIMESTEPS), (len(latents),), generator=chance)]
        noise = torch.randn(latents.shape, generator=chance)
        loss = denoiser(latents, noise, times, text, torch.zeros(len(latents), dtype=torch.int64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
