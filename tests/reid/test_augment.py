import io

import numpy as np
import pytest
import torch
from PIL import Image

from pd.reid import augment as A


@pytest.fixture
def pictures() -> torch.Tensor:
    """Four smooth pictures with a bright left half, (4, 1, 32, 32)."""
    side = torch.linspace(-1, 1, 32)
    picture = 0.4 * torch.sin(3 * side)[:, None] - 0.4 * torch.tanh(6 * side)[None]
    return torch.stack([picture, picture.T, picture * 0.5, picture - 0.2])[:, None]


def test_same_seed_gives_the_same_views_and_another_seed_others(pictures: torch.Tensor) -> None:
    views = [A.augment(pictures, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 16, 16), (3, 32, 32), (3, 20, 36), (1, 64, 64)])
def test_views_keep_shape_and_range(channels: int, height: int, width: int) -> None:
    images = torch.rand(9, channels, height, width) * 2 - 1
    views = A.augment(images, torch.Generator().manual_seed(0))
    assert views.shape == images.shape
    assert views.dtype == torch.float32
    assert torch.isfinite(views).all()
    assert views.abs().max() <= 1


def test_move_mirrors_shifts_and_crops(pictures: torch.Tensor) -> None:
    n = len(pictures)
    never = torch.zeros(n, dtype=torch.bool)
    still = {"degrees": torch.zeros(n), "scale": torch.ones(n), "shift": torch.zeros(n, 2), "mirror": never}
    assert torch.allclose(A.move(pictures, **still), pictures, atol=1e-5)
    assert torch.allclose(A.move(pictures, **still | {"mirror": ~never}), pictures.flip(3), atol=1e-5)
    right = A.move(pictures, **still | {"shift": torch.tensor([[0.25, 0.0]] * n)})
    assert torch.allclose(right[..., :24], pictures[..., 8:], atol=1e-5)
    half = A.move(pictures, **still | {"scale": torch.full((n,), 0.5)})
    assert torch.allclose(half.mean((2, 3)), pictures[..., 8:24, 8:24].mean((2, 3)), atol=0.01)
    quarter = A.move(pictures, **still | {"degrees": torch.full((n,), 90.0)})
    assert torch.allclose(quarter, pictures.rot90(1, (2, 3)), atol=1e-5)


def test_blur_flattens_detail_and_zero_is_no_blur() -> None:
    rough = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)).repeat(4, 1, 1, 1)
    assert torch.allclose(A.blur(rough, sigma=torch.zeros(4)), rough, atol=1e-6)
    soft = A.blur(rough, sigma=torch.tensor([0.0, 0.5, 1.0, 2.0]))
    detail = soft.diff(dim=3).square().mean((1, 2, 3)) / rough.diff(dim=3).square().mean((1, 2, 3))
    assert detail[0] == pytest.approx(1, abs=1e-4)
    assert detail[1] > detail[2] > detail[3]


def test_low_resolution_keeps_the_mean_of_each_coarse_pixel() -> None:
    images = torch.rand(2, 3, 32, 32)
    low = A.low_resolution(images, share=torch.tensor([1.0, 0.25]))
    assert torch.allclose(low[0], images[0], atol=1e-6)
    coarse = torch.nn.functional.interpolate(images[1:], size=8, mode="area")
    back = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    assert torch.allclose(low[1:], back, atol=1e-5)


def test_tone_and_noise_do_what_they_say(pictures: torch.Tensor) -> None:
    toned = A.tone(pictures, brightness=torch.full((4,), 0.1), contrast=torch.full((4,), 0.5))
    assert torch.allclose(toned.mean((1, 2, 3)), pictures.mean((1, 2, 3)) + 0.1, atol=1e-5)
    assert torch.allclose(toned.std((1, 2, 3)), 0.5 * pictures.std((1, 2, 3)), atol=1e-5)
    noisy = A.noise(torch.zeros(4, 3, 64, 64), sigma=torch.full((4,), 0.1), generator=torch.Generator().manual_seed(0))
    assert noisy.std().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_jpeg_loses_what_a_real_encoder_loses(pictures: torch.Tensor, quality: int) -> None:
    rough = A.noise(pictures, sigma=torch.full((4,), 0.15), generator=torch.Generator().manual_seed(0))
    grey = ((rough + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    ours = A.jpeg(torch.from_numpy(grey).float() / 127.5 - 1, quality=torch.full((4,), float(quality)))
    for mine, picture in zip(ours, grey, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(picture[0]).save(buffer, format="JPEG", quality=quality)
        theirs = np.asarray(Image.open(buffer), np.float32)
        lost = np.abs(theirs - picture[0]).mean()
        # Rounding after the inverse transform and the half-level shift are all that may differ.
        assert np.abs((mine[0].numpy() + 1) * 127.5 - theirs).mean() < 0.35 * lost + 0.6


def test_jpeg_of_quality_100_is_the_image_itself(pictures: torch.Tensor) -> None:
    assert torch.equal(A.jpeg(pictures, quality=torch.full((4,), 100.0)), pictures)
