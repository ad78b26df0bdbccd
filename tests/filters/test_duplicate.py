import numpy as np

from pd.filters.duplicate import pixels_digest, repeated


def test_the_first_stays():
    assert repeated(["b" * 32, "a" * 32, "b" * 32, "b" * 32, "c" * 32]).tolist() == [False, False, True, True, False]
    assert repeated([]).tolist() == []


def test_digest_sees_pixels_and_shape():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert pixels_digest(image) == pixels_digest(np.asfortranarray(image))
    other = image.copy()
    other[1, 1, 2] ^= 1
    assert len({pixels_digest(image), pixels_digest(other), pixels_digest(image.reshape(3, 4, 1))}) == 3
