import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from refusals import refused_as

from pd.dataset.images import encode_png, from_tensor, to_arrays, to_tensor
from pd.dataset.schema import IMAGE


@pytest.mark.parametrize(("channels", "mode"), [(1, "grey"), (3, "rgb")])
def test_png_keeps_every_pixel(channels, mode):
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 7, channels), dtype=np.uint8)
    structs = [{"bytes": encode_png(image), "path": "x"} for image in images]
    for column in (
        structs,
        [s["bytes"] for s in structs],
        pa.array(structs, IMAGE),
        pa.chunked_array([structs], IMAGE),
    ):
        assert np.array_equal(to_arrays(column, mode), images)
        assert np.array_equal(to_arrays(column), images)


def test_png_is_deterministic_and_carries_no_metadata():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert encode_png(image) == encode_png(image.copy())
    assert Image.open(io.BytesIO(encode_png(image))).info == {}


def test_mode_converts():
    grey = encode_png(np.full((4, 4, 1), 77, np.uint8))
    assert np.array_equal(to_arrays([grey], "rgb"), np.full((1, 4, 4, 3), 77))


def test_no_images_have_channels():
    assert to_arrays([], "rgb").shape == (0, 0, 0, 3)


def test_different_sizes_are_refused():
    with refused_as("mixed-sizes", "4x4", "5x4"):
        to_arrays([encode_png(np.zeros(shape, np.uint8)) for shape in ((4, 4, 1), (4, 5, 1))])


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        encode_png(np.zeros((4, 4, 1), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        encode_png(np.zeros((4, 4, 2), np.uint8))


@pytest.mark.parametrize(("channels", "mode"), [(1, "grey"), (3, "rgb")])
def test_tensors_and_back(channels, mode):
    images = np.random.default_rng(1).integers(0, 256, (2, 6, 5, channels), dtype=np.uint8)
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 6, 5)
    assert tensor.dtype == torch.float32
    assert -1 <= tensor.min() <= tensor.max() <= 1
    assert np.array_equal(from_tensor(tensor, mode), images)


def test_tensor_is_in_channel_order():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 1] = (255, 0, 51)
    assert to_tensor(image)[0, :, 0, 1].tolist() == pytest.approx([1.0, -1.0, -0.6])


def test_from_tensor_clamps_rounds_and_averages():
    tensor = torch.tensor([-7.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert from_tensor(tensor, "rgb").ravel().tolist() == [0, 128, 255]
    assert from_tensor(tensor, "grey").ravel().tolist() == [128]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_model_is_named(value):
    with refused_as("bad-image", "learning_rate"):
        from_tensor(torch.full((1, 3, 2, 2), value), "grey")
