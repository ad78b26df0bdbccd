"""Several small pictures in the room of one.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization" (IDC, arXiv 2205.14959),
multi-formation: a stored picture is cut into factor x factor parts, and each part, enlarged, is a picture to learn
from.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pd.errors import UserError


def parts(images: Tensor, factor: int) -> Tensor:
    """(N, C, S, S) -> (N factor^2, C, S, S): the parts of each picture, row by row, enlarged to its size (bilinear)."""
    if factor == 1:
        return images
    n, c, side, _ = images.shape
    small = side // factor
    cut = images.view(n, c, factor, small, factor, small).permute(0, 2, 4, 1, 3, 5)
    return F.interpolate(cut.reshape(n * factor**2, c, small, small), size=(side, side), mode="bilinear", align_corners=False)


def packed(images: Tensor, factor: int) -> Tensor:
    """(N factor^2, C, S, S) -> (N, C, S, S): pictures made small (means of pixels) and put side by side."""
    if factor == 1:
        return images
    small = F.avg_pool2d(images, factor)
    n, c, side, _ = small.shape
    grid = small.view(n // factor**2, factor, factor, c, side, side).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(n // factor**2, c, side * factor, side * factor)


def unpack(pictures: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """(N, H, W, C) uint8 stored pictures -> (N factor^2, H, W, C) uint8 pictures to learn from."""
    given = torch.tensor(pictures).permute(0, 3, 1, 2).float()
    made = parts(given, factor).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(made.permute(0, 2, 3, 1).numpy())


def refuse_odd(side: int, factor: int) -> None:
    """Raises UserError where a side cannot be cut into `factor` parts."""
    if side % factor:
        raise UserError(
            f"pictures of {side} pixels cannot be cut into {factor} parts a side",
            code="bad-size",
            where="condense.factor",
            fix="set 1, or a size that is a multiple of it",
        )
