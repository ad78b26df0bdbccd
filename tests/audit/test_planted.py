import numpy as np

from pd.audit.planted import VIEWS, in_views, jittered
from pd.dataset.private import PrivateDataset


def test_copies_stay_with_their_originals_and_differ(orl: PrivateDataset) -> None:
    images = orl.images[::50]
    copies = jittered(images, 3, "grey", 1)
    assert copies.shape == (3 * len(images), 32, 32, 1)
    flat = copies.reshape(len(copies), -1).astype(float)
    assert len(np.unique(flat, axis=0)) == len(copies)
    originals = images.reshape(len(images), -1).astype(float)
    mirrored = images[:, :, ::-1].reshape(len(images), -1).astype(float)
    both = np.corrcoef(np.concatenate([flat, originals, mirrored]))[: len(copies), len(copies) :]
    nearest = both.argmax(axis=1) % len(images)
    assert np.mean(nearest == np.repeat(np.arange(len(images)), 3)) > 0.8
    assert (copies == jittered(images, 3, "grey", 1)).all()
    assert (copies != jittered(images, 3, "grey", 2)).any()


def test_members_are_planted_in_the_views_that_their_size_allows() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1), dtype=np.uint8)
    found = in_views(images, 3)
    assert set(found) == set(VIEWS)
    assert all(made.shape == images.shape and (made != images).any(axis=(1, 2, 3)).all() for made in found.values())
    again = in_views(images, 3)
    assert all((again[kind] == made).all() for kind, made in found.items())
    assert "16x16" not in in_views(images[:, ::2, ::2], 3)
