import numpy as np
import pytest

from pd.filters.descriptor import UPRIGHT, describe


@pytest.mark.parametrize("shape", [(2, 16, 16, 1), (2, 200, 150, 3), (2, 24, 24, 3)])
def test_any_size_and_colour(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_allclose(np.linalg.norm(describe(images), axis=1), 1, atol=1e-5)


def test_flat_images_have_a_number_of_their_own(faces):
    flat = np.stack([np.full((32, 32, 1), value, np.uint8) for value in (0, 90, 255)])
    rows = describe(flat)
    np.testing.assert_allclose(rows @ rows.T, 1)
    assert abs(rows @ describe(faces.images[:20]).T).max() == 0


def test_independent_of_the_batch(faces):
    whole = describe(faces.images[:300])
    np.testing.assert_allclose(whole[7], describe(faces.images[7:8])[0], atol=1e-6)
    assert describe(faces.images[:0]).shape == (0, whole.shape[1])


def test_poses_follow_each_image(faces):
    images, moved = faces.images[:3], (0.9, 0.05, 0.0)
    rows = describe(images, [UPRIGHT, moved])
    np.testing.assert_array_equal(rows[::2], describe(images))
    np.testing.assert_array_equal(rows[1::2], describe(images, [moved]))
    assert np.abs(rows[::2] - rows[1::2]).max() > 0.01
