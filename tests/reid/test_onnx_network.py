"""Networks written as ONNX give what they give here, at sizes that are no whole multiple of those inside, too."""

import numpy as np
import pytest
import torch
from refusals import refused_as
from torch import nn

from pd.dataset.images import to_tensor
from pd.reid.backbones import GENERATIVE, Resized, build_backbone
from pd.reid.network import EmbeddingNetwork
from pd.reid.onnx_network import OnnxNetwork, write_onnx


class Plain(nn.Module):
    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 10).flatten(1)


def network(name: str) -> EmbeddingNetwork:
    torch.manual_seed(0)
    if name == "resized":
        return EmbeddingNetwork(Resized(Plain(), (50, 60), (0.5,) * 3, (0.2,) * 3), 90, 16, name=name).eval()
    return EmbeddingNetwork(*build_backbone(name, None), 16, name=name).eval()


@pytest.mark.parametrize("side", [24, 72])
@pytest.mark.parametrize("name", ["small", "resized", *GENERATIVE])
def test_onnx_gives_what_the_network_gives_at_any_size(tmp_path, name, side) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    whole = network(name)
    assert write_onnx(whole, side, tmp_path / "model.onnx") == ""
    images = np.random.default_rng(0).integers(0, 255, (3, side, side, 3), dtype=np.uint8)
    found = OnnxNetwork(tmp_path / "model.onnx", "here").embed(images)
    with torch.no_grad():
        wanted = whole(to_tensor(images)).numpy()
    assert np.abs(found - wanted).max() < 1e-4


def test_pictures_that_a_network_cannot_look_at_are_one_line(tmp_path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file = tmp_path / "any.onnx"
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8))
    free = {"images": {0: "n", 2: "h", 3: "w"}}  # it says that it takes any size
    torch.onnx.export(
        fixed,
        (torch.zeros(2, 3, 16, 16),),
        str(file),
        dynamo=False,
        opset_version=17,
        dynamic_axes=free,
        input_names=["images"],
    )
    whole = OnnxNetwork(file, "reid.teacher")
    assert whole.embed(np.ones((2, 16, 16, 3), np.uint8)).shape == (2, 8)
    with refused_as("bad-model", "onnx:any.onnx", "24x32") as error:
        whole.embed(np.ones((2, 24, 32, 3), np.uint8))
    assert "export it with the size that it was made for" in str(error.value)
    assert "\n" not in str(error.value)
