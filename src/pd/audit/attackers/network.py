"""Networks that tell people apart already, and are used as they are: one that `pd reid` wrote, or somebody's ONNX file."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pd.dataset.images import Pixels, to_tensor
from pd.dataset.parquet_images import Images
from pd.errors import UserError
from pd.reid.spaces.whitening import Rows, unit

_WHERE = "audit.attackers"
_BATCH = 64


class Network:
    """`network:PATH`: a folder as `pd reid` writes it, of another run, with other people or another seed.

    Raises:
        UserError: no whole network there.
    """

    def __init__(self, name: str) -> None:
        from pd.reid.network import load

        path = Path(name.removeprefix("network:"))
        if not (path / "config.json").is_file():
            fix = "name a folder with config.json and model.safetensors, such as runs/OTHER/private/reid"
            raise UserError(f"no re-identification network at '{path}'", where=_WHERE, fix=fix)
        self.name = f"network:{path.resolve().name}"
        self._network = load(path)

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Nothing to learn."""

    def embed(self, images: Pixels) -> Rows:
        """(N, d) unit rows."""
        from pd.reid.embed import embed

        return embed(self._network, images)


class Onnx:
    """`onnx:PATH`: an embedding network that takes (N, 3, H, W) float32 in [-1, 1], red first, and gives (N, d).

    Where the file names a fixed batch, images go through so many at a time.

    Raises:
        UserError: onnxruntime is not installed, or the file is no such network.
    """

    def __init__(self, name: str, where: str = _WHERE) -> None:
        path = Path(name.removeprefix("onnx:"))
        if not path.is_file():
            raise UserError(f"no file '{path}'", where=where, fix="name a local ONNX file")
        try:
            onnxruntime = import_module("onnxruntime")
        except ImportError:
            raise UserError(
                "ONNX networks need onnxruntime, which is not installed", where=where, fix="pip install onnxruntime"
            ) from None
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has an exception for each kind of fault, and no common one
            raise UserError(f"'{path}' cannot be loaded ({type(error).__name__})", where=where, fix="check the file") from None
        self.name = f"onnx:{path.name}"
        asked = self._session.get_inputs()
        if len(asked) != 1 or len(asked[0].shape) != 4 or asked[0].shape[1] != 3:
            raise UserError(f"'{path}' does not take images (N, 3, H, W)", where=where, fix="export it so")
        self._where = where
        self._input, (batch, _, *size) = asked[0].name, asked[0].shape
        self._batch = batch if isinstance(batch, int) and batch > 0 else 0
        self._size = tuple(size) if all(isinstance(side, int) and side > 0 for side in size) else None

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Nothing to learn."""

    def embed(self, images: Pixels) -> Rows:
        """(N, d) unit rows."""
        import torch

        step = self._batch or _BATCH
        rows = []
        for at in range(0, len(images), step):
            batch = to_tensor(images[at : at + step])
            if self._size and tuple(batch.shape[2:]) != self._size:
                batch = torch.nn.functional.interpolate(batch, size=self._size, mode="bicubic", antialias=True).clamp(-1, 1)
            count = len(batch)
            if self._batch:  # filled up with copies of the last, whose rows are thrown away
                batch = torch.cat([batch, batch[-1:].expand(step - count, -1, -1, -1)])
            rows.append(np.asarray(self._session.run(None, {self._input: batch.numpy()})[0])[:count])
        found = np.concatenate(rows)
        if found.ndim != 2 or not np.isfinite(found).all():
            raise UserError(
                f"{self.name} gave {found.shape} numbers, or NaN", where=self._where, fix="its first output must be (N, d)"
            )
        return unit(found)
