from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from pd.config import ModelSettings
from pd.dataset.images import Pixels
from pd.diffusion import autoencoder
from pd.diffusion.encode import encode_shard
from pd.diffusion.latents import HELD, Latents, shard_path
from pd.diffusion.variants import Variants

ROWS, SHARD = 23, 4


@pytest.fixture
def images() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (ROWS, 16, 16, 1), dtype=np.uint8)


def cache(folder: Path, vae: AutoencoderKL, images: Pixels, window_rows: int = 0, **changes: object) -> Latents:
    variants = Variants.of(ModelSettings.model_validate(changes), seed=1)
    for shard, start in enumerate(range(0, ROWS, SHARD)):
        encode_shard(vae, images[start : start + SHARD], start, variants, shard_path(folder, shard))
    return Latents(folder, ROWS, SHARD, window_rows)


def test_rows_come_in_the_order_of_training(tmp_path: Path, images: Pixels, vae: Callable[..., AutoencoderKL]) -> None:
    mean, deviation = (part.numpy() for part in autoencoder.posterior(vae(), images))
    for window_rows in (0, 8):
        latents = cache(tmp_path / str(window_rows), vae(), images, window_rows)
        order = latents.order(5)
        assert order.windows == (3 if window_rows else 1)
        positions = np.arange(40, 40 + 2 * ROWS)
        found = latents.take(order, positions, np.zeros(2 * ROWS, np.int64))
        rows = order.at(positions)
        np.testing.assert_allclose(found["mean"], mean[rows], atol=1e-5)
        np.testing.assert_allclose(found["deviation"], deviation[rows], atol=1e-5)


def test_each_row_comes_in_the_variant_asked_for(tmp_path: Path, images: Pixels, vae: Callable[..., AutoencoderKL]) -> None:
    latents = cache(tmp_path, vae(), images, flip=True)
    assert latents.variants == 2
    order, positions = latents.order(5), np.arange(ROWS)
    wanted = positions % 2
    found = latents.take(order, positions, wanted)["mean"]
    each = [autoencoder.encode(vae(), np.ascontiguousarray(part)).numpy() for part in (images, images[:, :, ::-1])]
    expected = np.stack([each[variant][row] for row, variant in zip(order.at(positions), wanted, strict=True)])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_more_than_two_windows_are_held(tmp_path: Path, images: Pixels, vae: Callable[..., AutoencoderKL]) -> None:
    latents = cache(tmp_path, vae(), images, window_rows=4)
    order = latents.order(5)
    for position in range(0, 2 * ROWS, 3):
        latents.take(order, np.arange(position, position + 3), np.zeros(3, np.int64))
        assert len(latents._held) <= HELD
        assert all(len(window.arrays["mean"]) <= 4 for window in latents._held.values())


def test_pds_own_autoencoders_have_no_deviation_to_keep(tmp_path: Path, images: Pixels) -> None:
    for name, own in (("bundled", autoencoder.bundled("grey", 16)), ("fitted", autoencoder.train(images))):
        mean, deviation = autoencoder.posterior(own, images)
        assert deviation.max() < 1e-6 * mean.std()
        latents = cache(tmp_path / name, own, images)
        assert not latents.deviates
        assert list(latents.take(latents.order(5), np.arange(3), np.zeros(3, np.int64))) == ["mean"]


def test_a_learned_autoencoder_has_the_deviation_of_its_posterior(
    tmp_path: Path, images: Pixels, vae: Callable[..., AutoencoderKL]
) -> None:
    latents = cache(tmp_path, vae(), images)
    assert latents.deviates
    found = latents.take(latents.order(5), np.arange(ROWS), np.zeros(ROWS, np.int64))
    rows = latents.order(5).at(np.arange(ROWS))
    pixels = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float().div(127.5).sub(1).expand(-1, 3, -1, -1)
    with torch.no_grad():
        posterior = vae().encode(pixels).latent_dist
    np.testing.assert_allclose(found["deviation"], 0.5 * posterior.std.numpy(), atol=1e-5)  # its scaling factor
    np.testing.assert_allclose(found["mean"], 0.5 * posterior.mean.numpy(), atol=1e-5)
    assert found["deviation"].min() > 0.01
