"""Other sizes of pictures inside networks: as torch has them, and in an export to ONNX, which lacks most, as two products."""

import torch
import torch.nn.functional as F
from torch import Tensor


def area(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), means over cells."""
    if not torch.onnx.is_in_onnx_export():
        return F.interpolate(images, size=size, mode="area")
    return _product(images, *(_means(int(side), wanted) for side, wanted in zip(images.shape[2:], size, strict=True)))


def bicubic(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), bicubic and antialiased."""
    if not torch.onnx.is_in_onnx_export():
        return F.interpolate(images, size=size, mode="bicubic", antialias=True)
    return _product(images, *(_cubic(int(side), wanted) for side, wanted in zip(images.shape[2:], size, strict=True)))


def _product(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Rows by `down`, (H, h), and columns by `across`, (W, w)."""
    return down.T @ images @ across


def _means(side: int, wanted: int) -> Tensor:
    """(side, wanted), the mean over the cell of each wanted one."""
    cells: Tensor = F.adaptive_avg_pool1d(torch.eye(side)[None], wanted)
    return cells[0]


def _cubic(side: int, wanted: int) -> Tensor:
    """(side, wanted), what each wanted one has of every pixel."""
    whole = F.interpolate(torch.eye(side)[None, None], size=(wanted, side), mode="bicubic", antialias=True)
    return whole[0, 0].T
