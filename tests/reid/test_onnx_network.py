"""Networks written as ONNX give what they give here, at sizes that are no whole multiple of those inside, too."""

import numpy as np
import pytest
import torch
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
