import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pd.filters.near_copy import POSES, describe, gallery_rows
from pd.reid.gallery import Gallery


def _likeness(gallery, images):
    plain, mirrored = describe(images), describe(images[:, :, ::-1])
    return np.maximum(gallery.nearest(plain)[0], gallery.nearest(mirrored)[0])


def _pictures(images):
    return [Image.fromarray(image[:, :, 0]) for image in images]


def _arrays(pictures):
    return np.stack([np.asarray(picture) for picture in pictures])[..., None]


def _jpeg(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=15)
    return Image.open(buffer)


def _crop(picture):
    return picture.resize((32, 32), Image.Resampling.BICUBIC, (3, 1, 31, 29))


COPIES = {
    "crop": lambda images: _arrays(_crop(p) for p in _pictures(images)),
    "flip": lambda images: images[:, :, ::-1],
    "blur": lambda images: _arrays(p.filter(ImageFilter.GaussianBlur(2)) for p in _pictures(images)),
    "noise": lambda images: (images + np.random.default_rng(1).normal(0, 25, images.shape)).clip(0, 255).astype(np.uint8),
    "jpeg": lambda images: _arrays(_jpeg(p) for p in _pictures(images)),
    "darker": lambda images: (images * 0.5).astype(np.uint8),
    "brighter": lambda images: (images * 0.7 + 60).astype(np.uint8),
}


@pytest.fixture(scope="module")
def gallery(faces):
    return Gallery(gallery_rows(faces.members().images))


@pytest.fixture(scope="module")
def threshold(faces, gallery):
    """What a twentieth of the strangers exceed."""
    return np.quantile(_likeness(gallery, faces.holdout_half("calibration", 7).images), 0.95)


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_caught(faces, gallery, threshold, kind):
    copies = COPIES[kind](faces.members().images)
    assert (_likeness(gallery, copies) >= threshold).mean() >= 0.97


def test_strangers_pass(faces, gallery, threshold):
    strangers = faces.holdout_half("audit", 7).images
    assert (_likeness(gallery, strangers) >= threshold).mean() <= 0.2


def test_other_photos_of_a_member_are_less_like_than_copies(faces):
    members = faces.members().images
    gallery = Gallery(gallery_rows(members[::2]))
    assert _likeness(gallery, members[1::2]).max() < _likeness(gallery, members[::2]).min()


def test_it_is_not_plain_correlation(faces, gallery):
    # A light from the side decides a correlation of pixels and leaves a copy a copy.
    members = faces.members().images[:50]
    ramp = np.linspace(-100, 100, 32)[None, None, :, None]
    lit = (members + ramp).clip(0, 255).astype(np.uint8)

    def flat(images):
        rows = images.reshape(len(images), -1).astype(float)
        rows -= rows.mean(1, keepdims=True)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    plain = (flat(lit) * flat(members)).sum(1)
    ours = (describe(lit) * describe(members)).sum(1)
    assert ours.mean() > plain.mean() + 0.1


def test_rows_are_unit_and_in_order(faces):
    images = faces.images[:3]
    rows = gallery_rows(images)
    assert rows.shape[0] == 3 * POSES
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    nearest = Gallery(rows).nearest(describe(images))[1] // POSES
    assert nearest.tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [(2, 16, 16, 1), (2, 200, 150, 3), (2, 24, 24, 3)])
def test_any_size_and_colour(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_allclose(np.linalg.norm(describe(images), axis=1), 1, atol=1e-5)


def test_flat_images_resemble_flat_images_only(faces):
    flat = np.stack([np.full((32, 32, 1), value, np.uint8) for value in (0, 90, 255)])
    rows = describe(flat)
    np.testing.assert_allclose(rows @ rows.T, 1)
    assert abs(rows @ describe(faces.images[:20]).T).max() == 0


def test_independent_of_the_batch(faces):
    whole = describe(faces.images[:300])
    np.testing.assert_allclose(whole[7], describe(faces.images[7:8])[0], atol=1e-6)
    assert describe(faces.images[:0]).shape == (0, whole.shape[1])
