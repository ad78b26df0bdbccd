"""Somebody's embedding network in an ONNX file, and one of ours written as such a file."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pd.dataset.images import Pixels, to_tensor
from pd.errors import UserError
from pd.reid.spaces.whitening import Rows, unit

_BATCH = 64
_OPSET = 17


class OnnxNetwork:
    """An embedding network that takes (N, 3, H, W) float32 in [-1, 1], red first, and gives (N, d).

    Where the file names a fixed batch, images go through so many at a time.

    Args:
        path: the file.
        where: the setting that named it, for messages.

    Raises:
        UserError: onnxruntime is not installed, or the file is no such network.
    """

    def __init__(self, path: Path, where: str) -> None:
        if not path.is_file():
            raise UserError(f"no file '{path}'", code="missing-weights", where=where, fix="name a local ONNX file")
        try:
            onnxruntime = import_module("onnxruntime")
        except ImportError:
            raise UserError(
                "ONNX networks need onnxruntime, which is not installed",
                code="missing-package",
                where=where,
                fix="pip install onnxruntime",
            ) from None
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has an exception for each kind of fault, and no common one
            raise UserError(
                f"'{path}' cannot be loaded ({type(error).__name__})", code="bad-weights", where=where, fix="check the file"
            ) from None
        self.name, self._where = f"onnx:{path.name}", where
        asked = self._session.get_inputs()
        if len(asked) != 1 or len(asked[0].shape) != 4 or asked[0].shape[1] != 3:
            raise UserError(f"'{path}' does not take images (N, 3, H, W)", code="bad-model", where=where, fix="export it so")
        self._input, (batch, _, *size) = asked[0].name, asked[0].shape
        self._batch = batch if isinstance(batch, int) and batch > 0 else 0
        self._size = tuple(size) if all(isinstance(side, int) and side > 0 for side in size) else None

    def embed(self, images: Pixels) -> Rows:
        """(N, d) unit rows of (N, H, W, C) uint8."""
        step = self._batch or _BATCH
        rows = []
        for at in range(0, len(images), step):
            batch = to_tensor(images[at : at + step])
            if self._size and tuple(batch.shape[2:]) != self._size:
                batch = torch.nn.functional.interpolate(batch, size=self._size, mode="bicubic", antialias=True).clamp(-1, 1)
            count = len(batch)
            if self._batch:  # filled up with copies of the last, whose rows are thrown away
                batch = torch.cat([batch, batch[-1:].expand(step - count, -1, -1, -1)])
            rows.append(self._run(batch)[:count])
        found = np.concatenate(rows)
        if found.ndim != 2 or not np.isfinite(found).all():
            raise UserError(
                f"{self.name} gave {found.shape} numbers, or NaN",
                code="bad-model",
                where=self._where,
                fix="its first output must be (N, d)",
            )
        return unit(found)

    def _run(self, batch: torch.Tensor) -> Rows:
        try:
            return np.asarray(self._session.run(None, {self._input: batch.numpy()})[0])
        except Exception as error:  # onnxruntime has an exception for each kind of fault, and no common one
            height, width = batch.shape[2:]
            raise UserError(
                f"{self.name} cannot look at {height}x{width} pictures ({type(error).__name__})",
                code="bad-model",
                where=self._where,
                fix="export it with the size that it was made for",
            ) from None


def write_onnx(network: nn.Module, side: int, file: Path) -> str:
    """Write a network as ONNX: `images` (N, 3, side, side) float32 in [-1, 1] -> `rows` (N, d).

    Returns:
        Why there is no file; empty: there is one.
    """
    import warnings

    try:
        import_module("onnx")
    except ImportError:
        return "onnx is not installed"
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["rows"]}
    free = {"images": {0: "n"}, "rows": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's age, and of sizes that are constants here
        try:
            torch.onnx.export(
                network.eval().cpu(),
                (torch.zeros(2, 3, side, side),),
                str(file),
                dynamo=False,
                opset_version=_OPSET,
                dynamic_axes=free,
                **names,
            )
        except Exception as error:  # the exporter has an exception for each kind of fault, and no common one
            file.unlink(missing_ok=True)
            return f"it cannot be exported: {_first_line(error)}"
    return ""


def _first_line(error: Exception) -> str:
    said = str(error).strip().partition("\n")[0].strip()
    return f"{type(error).__name__} ({said[:160]})" if said else type(error).__name__
