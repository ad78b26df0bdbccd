"""Image arrays: `np.uint8 (N, H, W, C)`, C = 1 (grey) or 3 (rgb), to and from PNG and torch."""

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pd.errors import UserError

if TYPE_CHECKING:
    import torch

Mode = Literal["grey", "rgb"]
Pixels = npt.NDArray[np.uint8]

_PILLOW = {"grey": "L", "rgb": "RGB"}


def encode_png(image: Pixels) -> bytes:
    """PNG of one image, (H, W, C) uint8 with C = 1 or 3; equal pixels give equal bytes."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"expected (H, W, 1 or 3) uint8, got {image.shape} {image.dtype}")
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image))
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=6)
    return out.getvalue()


def to_arrays(column: Iterable[bytes | Mapping[str, Any]] | pa.Array | pa.ChunkedArray, mode: Mode | None = None) -> Pixels:
    """Decode PNGs that `pd` wrote, all of one size.

    Images from elsewhere go through `pd.dataset.decode`, which trusts nothing.

    Args:
        column: PNG bytes, or Hugging Face image structs `{bytes, path}`, or an Arrow column of either.
        mode: grey or rgb; None takes the first image's own.

    Returns:
        (N, H, W, C) uint8; (0, 0, 0, 1 or 3) when the column is empty.
    """
    values = column.to_pylist() if isinstance(column, pa.Array | pa.ChunkedArray) else column
    arrays: list[Pixels] = []
    for value in values:
        data = value if isinstance(value, bytes) else value["bytes"]
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            mode = mode or ("grey" if picture.mode == "L" else "rgb")
            pixels = np.asarray(picture.convert(_PILLOW[mode]))
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if arrays and arrays[0].shape != pixels.shape:
            sizes = " and ".join(f"{a.shape[1]}x{a.shape[0]}" for a in (arrays[0], pixels))
            raise UserError(f"images of different sizes: {sizes}", code="mixed-sizes", fix="resize them to one size first")
        arrays.append(pixels)
    if not arrays:
        return np.zeros((0, 0, 0, 3 if mode == "rgb" else 1), np.uint8)
    return np.stack(arrays)


def to_tensor(images: Pixels) -> "torch.Tensor":
    """(N, H, W, C) uint8 to (N, 3, H, W) float32 in [-1, 1]; grey is repeated to 3 channels."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float().div_(127.5).sub_(1.0)
    return tensor.expand(-1, 3, -1, -1).contiguous()


def from_tensor(tensor: "torch.Tensor", mode: Mode) -> Pixels:
    """(N, 3, H, W) float in about [-1, 1] to (N, H, W, C) uint8: clamped and rounded; grey is the mean of the channels.

    Raises:
        UserError: the tensor holds NaN or infinity.
    """
    values = tensor.detach().float()
    if not bool(values.isfinite().all()):
        raise UserError(
            "the model made images of NaN or infinity", code="bad-image", fix="it diverged: lower its learning_rate"
        )
    values = values.clamp(-1.0, 1.0)
    if mode == "grey":
        values = values.mean(dim=1, keepdim=True)
    scaled = values.add(1.0).mul(127.5).round().byte().permute(0, 2, 3, 1)
    array: Pixels = scaled.cpu().contiguous().numpy()
    return array


def mirrored(images: Pixels) -> Pixels:
    """(N, H, W, C) uint8, left and right exchanged."""
    return np.ascontiguousarray(images[:, :, ::-1])
