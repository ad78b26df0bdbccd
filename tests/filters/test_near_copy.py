import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pd.filters.descriptor import describe
from pd.filters.near_copy import AXES, POSES, NearCopyDetector
from pd.reid.gallery import Gallery


class _Members:
    """A fitted detector and its gallery."""

    def __init__(self, images):
        self.detector = NearCopyDetector.fit(images)
        self.rows = self.detector.gallery_rows(images)
        self.gallery = Gallery(self.rows)

    def likeness(self, images):
        asked = [self.detector.compare(describe(one)) for one in (images, images[:, :, ::-1])]
        return np.maximum(*(self.gallery.nearest(rows)[0] for rows in asked))


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
def members(faces):
    return _Members(faces.members().images)


@pytest.fixture(scope="module")
def threshold(faces, members):
    """What one in a hundred of the strangers' pictures exceeds."""
    return np.quantile(members.likeness(faces.holdout_half("calibration", 7).images), 0.99)


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_caught(faces, members, threshold, kind):
    copies = COPIES[kind](faces.members().images)
    assert (members.likeness(copies) >= threshold).mean() >= 0.97


def test_strangers_pass(faces, members, threshold):
    strangers = faces.holdout_half("audit", 7).images
    assert (members.likeness(strangers) >= threshold).mean() <= 0.1


def test_an_image_is_wholly_like_itself_and_a_copy_more_like_than_another_photo(faces):
    images = faces.members().images
    known = _Members(images[::2])
    np.testing.assert_allclose(known.likeness(images[::2]), 1, atol=1e-5)
    assert known.likeness(images[1::2]).max() < 0.99


def test_it_is_not_plain_correlation(faces, members):
    # A light from the side decides a correlation of pixels and leaves a copy a copy.
    images = faces.members().images[:50]
    ramp = np.linspace(-100, 100, 32)[None, None, :, None]
    lit = (images + ramp).clip(0, 255).astype(np.uint8)
    strangers = faces.holdout().images

    def flat(images):
        rows = images.reshape(len(images), -1).astype(float)
        rows -= rows.mean(1, keepdims=True)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    plain = flat(faces.members().images)
    caught = (flat(lit) @ plain.T).max(1) >= np.quantile((flat(strangers) @ plain.T).max(1), 0.99)
    ours = members.likeness(lit) >= np.quantile(members.likeness(strangers), 0.99)
    assert ours.mean() > caught.mean() + 0.3


def test_rows_are_unit_and_in_order(faces, members):
    images = faces.members().images
    assert members.rows.shape == (len(images) * len(POSES), AXES + 1)
    np.testing.assert_allclose(np.linalg.norm(members.rows, axis=1), 1, atol=1e-5)
    nearest = members.gallery.nearest(members.detector.compare(describe(images)))[1] // len(POSES)
    assert nearest.tolist() == list(range(len(images)))


def test_axes_are_principal_and_whitened_part_of_the_way(faces, members):
    described = describe(faces.members().images, POSES).astype(np.float64)
    rows = described @ members.detector.axes
    moments = rows.T @ rows / len(rows)
    np.testing.assert_allclose(moments, np.diag(np.diag(moments)), atol=1e-5)
    own = np.linalg.eigvalsh(described.T @ described / len(described))[::-1][:AXES]
    np.testing.assert_allclose(np.diag(moments), own**0.7, rtol=1e-3)


def test_flat_images_resemble_flat_images_only(members, faces):
    flat = np.stack([np.full((32, 32, 1), value, np.uint8) for value in (0, 90, 255)])
    assert abs(members.likeness(flat)).max() == 0
    rows = members.detector.compare(describe(flat))
    np.testing.assert_allclose(rows @ rows.T, 1)
    with_flat = _Members(np.concatenate([faces.images[:5], flat[:1]]))
    assert with_flat.likeness(flat).min() == 1


@pytest.mark.parametrize("images", [1, 2, 3])
def test_hardly_any_members(faces, images):
    known = _Members(faces.images[:images])
    np.testing.assert_allclose(known.likeness(faces.images[:images]), 1, atol=1e-5)
    assert known.likeness(np.full((1, 32, 32, 1), 9, np.uint8))[0] == 0
