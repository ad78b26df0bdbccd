"""The autoencoder: what it codes, that it loses nothing that its code keeps, and that stock diffusers runs it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from refusals import refused_as

from pd.dataset.images import Mode, Pixels, from_tensor, to_tensor
from pd.diffusion.autoencoder import LATENT_CHANNELS, bundled, decode, digest, encode, train, train_on_parts


def noise(count: int, height: int, width: int, colours: int, seed: int = 0) -> Pixels:
    """Independent pixels: the hardest pictures there are, as no pixel can be guessed from its neighbours."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, colours), dtype=np.uint8)


def waves(count: int, side: int, seed: int = 0) -> Pixels:
    """Smooth colour pictures: a few plane waves each."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    pictures = np.zeros((count, side, side, 3))
    for _ in range(4):
        fy, fx, phase = (random.uniform(-3, 3, (count, 1, 1, 3)) for _ in range(3))
        pictures += np.sin(2 * math.pi * (fy * y[None, :, :, None] + fx * x[None, :, :, None]) + phase)
    return (127.5 + 30 * pictures).clip(0, 255).astype(np.uint8)


def psnr(a: Pixels, b: Pixels) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9)))


def block_dct(pixels: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W) to (N, 16, H/4, W/4), by a definition of its own: a strided convolution with cosines."""
    x, k = torch.arange(4)[None], torch.arange(4)[:, None]
    dct = torch.cos(math.pi * (2 * x + 1) * k / 8) * math.sqrt(0.5)
    dct[0] /= math.sqrt(2)
    return torch.nn.functional.conv2d(pixels, torch.einsum("ai,bj->abij", dct, dct).reshape(16, 1, 4, 4), stride=4)


FREQUENCY = torch.arange(4)[:, None] + torch.arange(4)
SCALE = (0.75 * (1 + FREQUENCY) ** 0.9).reshape(16, 1, 1)


@pytest.fixture(scope="module")
def grey() -> AutoencoderKL:
    return bundled("grey")


@pytest.mark.parametrize(("height", "width"), [(8, 8), (24, 40), (32, 32), (64, 64)])
def test_grey_latents_are_the_block_dct(grey: AutoencoderKL, height: int, width: int) -> None:
    images = noise(2, height, width, 1)
    torch.testing.assert_close(encode(grey, images), SCALE * block_dct(to_tensor(images)[:, :1]), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 16), (24, 40), (48, 48), (64, 64), (64, 8)])
def test_a_grey_round_trip_returns_every_pixel(grey: AutoencoderKL, height: int, width: int) -> None:
    images = noise(3, height, width, 1)
    assert np.array_equal(from_tensor(decode(grey, encode(grey, images)), "grey"), images)


def test_latents_that_no_natural_picture_has_decode_exactly(grey: AutoencoderKL) -> None:
    """One coefficient, the same in every cell: a convolution cannot tell the cells' pixels apart but by the border."""
    latents = torch.zeros(16, 16, 16, 16)
    latents[range(16), range(16)] = 0.5
    decoded = decode(grey, latents)
    torch.testing.assert_close(SCALE * block_dct(decoded[:, :1]), latents, atol=1e-4, rtol=1e-4)
    assert torch.equal(decoded[:, 0], decoded[:, 2])


def test_an_error_in_the_latents_is_no_larger_in_the_picture(grey: AutoencoderKL) -> None:
    images = noise(4, 32, 32, 1)
    error = 0.05 * torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = decode(grey, encode(grey, images) + error)[:, :1] - to_tensor(images)[:, :1]
    torch.testing.assert_close(moved.square().sum().sqrt(), (error / SCALE).square().sum().sqrt(), rtol=1e-2, atol=0)


def test_larger_pictures_need_another_one_and_are_refused_before_they_are_garbled(grey: AutoencoderKL) -> None:
    images = noise(1, 96, 72, 1)
    with refused_as("bad-size", "64"):
        encode(grey, images)
    with refused_as("bad-size", "64"):
        decode(grey, torch.zeros(1, 16, 24, 18))
    larger = bundled("grey", 96)
    assert np.array_equal(from_tensor(decode(larger, encode(larger, images)), "grey"), images)


def test_sides_that_are_no_multiples_of_8_are_refused(grey: AutoencoderKL) -> None:
    with refused_as("bad-size", "8"):
        encode(grey, noise(1, 36, 32, 1))
    with refused_as("bad-size", "8"):
        bundled("grey", 36)


def test_colour_keeps_grey_exactly_and_smooth_colour_nearly() -> None:
    vae = bundled("rgb")
    greys = noise(2, 32, 32, 1).repeat(3, axis=3)
    assert np.array_equal(from_tensor(decode(vae, encode(vae, greys)), "rgb"), greys)
    colours = waves(4, 48)
    assert psnr(from_tensor(decode(vae, encode(vae, colours)), "rgb"), colours) > 36


@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_it_is_deterministic_and_does_not_depend_on_the_batch(mode: Mode) -> None:
    vae, images = bundled(mode), noise(5, 16, 16, 1 if mode == "grey" else 3)
    latents = encode(vae, images)
    assert latents.shape == (5, LATENT_CHANNELS[mode], 4, 4)
    torch.testing.assert_close(encode(vae, images, batch=2), latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decode(vae, latents, batch=2), decode(vae, latents), atol=1e-4, rtol=0)
    sampled = vae.encode(to_tensor(images)).latent_dist.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(sampled, latents, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("grey", "0358450957889945c60788390444ec996e9622381781944a5dc0c42576790a08"),
        ("rgb", "d3808c68542dfc52fb66277d5912ca7baf53fcac8f14508bed6a817927f3cc20"),
    ],
)
def test_the_bundled_weights_are_known_by_their_digest(mode: Mode, expected: str) -> None:
    """Released students hold these weights: whoever changes them makes `pd verify` refuse all earlier releases."""
    state = torch.get_rng_state()
    assert digest(bundled(mode)) == digest(bundled(mode, 16)) == expected
    assert torch.equal(torch.get_rng_state(), state), "building it draws from the global generator"


def test_stock_diffusers_reads_it_back(grey: AutoencoderKL, tmp_path: Path) -> None:
    grey.save_pretrained(tmp_path)
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 2_000_000
    read = AutoencoderKL.from_pretrained(tmp_path, local_files_only=True)
    assert digest(read) == digest(grey)
    images = noise(1, 32, 32, 1)
    assert torch.equal(encode(read, images), encode(grey, images))


@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, 50), (torch.bfloat16, 36)])
@pytest.mark.parametrize("contrast", [1, 20])
def test_half_precision_still_shows_the_picture(grey: AutoencoderKL, dtype: torch.dtype, least: float, contrast: int) -> None:
    images = 255 - noise(2, 32, 32, 1) // contrast
    half = AutoencoderKL.from_config(grey.config)
    half.load_state_dict(grey.state_dict())
    half = half.to(dtype)
    assert psnr(from_tensor(decode(half, encode(half, images)), "grey"), images) > least


def test_training_fits_the_basis_to_the_images() -> None:
    """Colour that the bundled one must drop, as it changes from pixel to pixel, is kept when the images are made of it."""
    images = waves(6, 16)
    images[:, :, ::2, 0] = 255 - images[:, :, ::2, 0]
    fitted, public = train(images), bundled("rgb")
    assert psnr(from_tensor(decode(fitted, encode(fitted, images)), "rgb"), images) > 5 + psnr(
        from_tensor(decode(public, encode(public, images)), "rgb"), images
    )
    latents = encode(fitted, images)
    assert latents[:, 0].std(correction=0).item() == pytest.approx(1, abs=1e-3)
    assert latents.mean((0, 2, 3)).abs().max().item() < 1e-3
    assert digest(train(images)) == digest(fitted)


def test_training_on_grey_loses_nothing_and_carries_over_to_other_pictures() -> None:
    vae, others = train(waves(3, 24)[..., :1]), noise(3, 24, 24, 1)
    assert np.array_equal(from_tensor(decode(vae, encode(vae, others)), "grey"), others)


def test_training_on_too_little_to_learn_from() -> None:
    flat = np.full((1, 8, 8, 1), 200, np.uint8)
    vae = train(flat)
    assert np.array_equal(from_tensor(decode(vae, encode(vae, flat)), "grey"), flat)
    with refused_as("no-images"):
        train(np.zeros((0, 8, 8, 1), np.uint8))


def test_fitting_needs_no_more_than_a_part_at_a_time() -> None:
    images = noise(9, 32, 32, 3)
    whole, parts = train(images), train_on_parts(iter([images[:4], images[4:4], images[4:]]))
    torch.testing.assert_close(encode(parts, images), encode(whole, images), atol=1e-4, rtol=1e-4)
