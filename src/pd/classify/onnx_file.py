"""A classifier as an ONNX file, for programs without torch."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

OPSET = 17


def write_onnx(module: nn.Module, shape: tuple[int, ...], file: Path) -> bool:
    """Write `module` as ONNX: input `images`, (N, C, S, S) float32 in [-1, 1], output `logits`, (N, classes).

    Returns:
        Whether it was written: it takes the package `onnx`.
    """
    if find_spec("onnx") is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself
        torch.onnx.export(
            module.cpu().eval(),
            (torch.zeros(1, *shape),),
            str(file),
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "n"}, "logits": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return True
