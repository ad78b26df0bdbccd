import numpy as np

from pd.audit.planted import jittered
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
