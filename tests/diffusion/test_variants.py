import numpy as np
import pytest

from pd.config import ModelSettings
from pd.dataset.images import Pixels
from pd.diffusion.variants import Variants


@pytest.fixture
def images() -> Pixels:
    """Smooth pictures, so that a resized crop is near the original's part."""
    y, x = np.mgrid[0:32, 0:32]
    return np.stack([(4 * y + 3 * x + 20 * row) % 256 for row in range(5)]).astype(np.uint8)[..., None]


def of(**changes: object) -> Variants:
    return Variants.of(ModelSettings.model_validate(changes), seed=1)


def test_there_is_one_variant_without_augmentation(images: Pixels) -> None:
    assert len(of()) == 1
    assert np.array_equal(of().apply(images, 0, 0), images)


def test_flip_adds_the_mirror_image(images: Pixels) -> None:
    flips = of(flip=True)
    assert len(flips) == 2
    assert np.array_equal(flips.apply(images, 0, 0), images)
    assert np.array_equal(flips.apply(images, 0, 1), images[:, :, ::-1])


def test_crops_are_as_many_as_asked_and_each_is_mirrored_too(images: Pixels) -> None:
    both = of(flip=True, crop=0.5, crop_variants=3)
    assert len(both) == 6
    made = [both.apply(images, 0, variant) for variant in range(6)]
    assert all(one.shape == images.shape and one.dtype == np.uint8 for one in made)
    for number in range(3):
        assert np.array_equal(made[3 + number], made[number][:, :, ::-1])
        assert not np.array_equal(made[number], made[(number + 1) % 3])


def test_a_crop_is_a_function_of_seed_row_and_variant(images: Pixels) -> None:
    crops = of(crop=0.5)
    whole = crops.apply(images, 0, 2)
    assert np.array_equal(crops.apply(images[3:], 3, 2), whole[3:])
    assert not np.array_equal(crops.apply(images, 7, 2), whole)
    assert not np.array_equal(Variants.of(ModelSettings(crop=0.5), seed=2).apply(images, 0, 2), whole)


def test_a_crop_keeps_at_least_the_share_of_the_side() -> None:
    """Of a ramp from 0 to 248 a square of share s keeps a range of about s."""
    ramp = np.repeat(8 * np.arange(32, dtype=np.uint8)[None, None, :, None], 32, axis=1).repeat(200, axis=0)
    kept = np.ptp(of(crop=0.6).apply(ramp, 0, 0).astype(int), axis=(1, 2, 3)) / 248
    assert 0.52 < kept.min() < 0.66
    assert 0.95 < kept.max() <= 1.0


def test_colours_stay(images: Pixels) -> None:
    colour = np.concatenate([images, 255 - images, images // 2], axis=-1)
    one = of(crop=0.5).apply(colour, 0, 1)
    assert one.shape == colour.shape
    assert np.array_equal(one[..., :1], of(crop=0.5).apply(images, 0, 1))
