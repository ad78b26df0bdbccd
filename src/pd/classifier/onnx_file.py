"""A released network as ONNX, for whoever has no torch: written node by node, the same bytes from the same weights."""

from typing import Any

import torch
from torch import nn

from pd.classify.networks import ConvNet
from pd.errors import UserError

INPUT, OUTPUT = "images", "logits"
_OPSET, _IR = 21, 10  # GroupNormalization as torch has it came with opset 21


def onnx_bytes(module: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The network as an ONNX file: `images` (N, C, H, W) float32 in [-1, 1] to `logits` (N, classes).

    Raises:
        UserError: the package `onnx` is not installed.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError:
        raise UserError(
            "model.onnx needs the package onnx",
            code="missing-package",
            where="classifier.onnx",
            fix='pip install "privacy-distillation[onnx]", or set classifier.onnx: false',
        ) from None
    assert isinstance(module, ConvNet)
    nodes: list[Any] = []
    weights: list[Any] = []
    last = INPUT

    def tensor(name: str, value: torch.Tensor) -> str:
        weights.append(onnx.numpy_helper.from_array(value.detach().cpu().contiguous().numpy(), name))
        return name

    def add(kind: str, inputs: list[str], **attributes: Any) -> None:
        nonlocal last
        last = OUTPUT if kind == "Gemm" else f"n{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [last], **attributes))

    for number, layer in enumerate(module.layers):
        name = f"layers.{number}"
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            given = [last, tensor(f"{name}.weight", layer.weight), tensor(f"{name}.bias", layer.bias)]
            add("Conv", given, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        elif isinstance(layer, nn.GroupNorm):
            given = [last, tensor(f"{name}.weight", layer.weight), tensor(f"{name}.bias", layer.bias)]
            add("GroupNormalization", given, num_groups=layer.num_groups, epsilon=layer.eps)
        elif isinstance(layer, nn.ReLU):
            add("Relu", [last])
        else:
            assert isinstance(layer, nn.AvgPool2d)
            add("AveragePool", [last], kernel_shape=[2, 2], strides=[2, 2])
    add("Flatten", [last])
    assert isinstance(module.head, nn.Linear)
    head = [last, tensor("head.weight", module.head.weight), tensor("head.bias", module.head.bias)]
    add("Gemm", head, transB=1)
    images = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", *shape])
    logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", module.head.out_features])
    graph = helper.make_graph(nodes, "classifier", [images], [logits], weights)
    model = helper.make_model(graph, producer_name="pd", opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    written: bytes = model.SerializeToString(deterministic=True)
    return written
