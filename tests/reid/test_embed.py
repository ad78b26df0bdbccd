import numpy as np
import pytest
from numpy.typing import NDArray

from pd.config import ReidSettings
from pd.reid.embed import embed
from pd.reid.network import build

People = tuple[NDArray[np.uint8], list[str]]


@pytest.mark.parametrize("batch", [1, 7, 60, 1000])
def test_the_batch_does_not_matter(people: People, batch: int) -> None:
    network = build(ReidSettings(dim=16))
    rows = embed(network, people[0], batch)
    assert rows.shape == (60, 16)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, embed(network, people[0]), rtol=0, atol=1e-6)


def test_mirror_embeds_the_mirrored_images(people: People) -> None:
    network, images = build(ReidSettings(dim=16)), people[0][:5]
    mirrored = embed(network, images, mirror=True)
    np.testing.assert_array_equal(mirrored, embed(network, images[:, :, ::-1]))
    assert np.abs(mirrored - embed(network, images)).max() > 1e-3


def test_training_mode_is_left_as_it_was(people: People) -> None:
    network = build(ReidSettings(dim=16)).train()
    rows = embed(network, people[0])
    assert network.training
    np.testing.assert_array_equal(rows, embed(network.eval(), people[0]))
    assert not network.training


def test_no_images_give_no_rows(people: People) -> None:
    assert embed(build(ReidSettings(dim=16)), people[0][:0]).shape == (0, 16)
