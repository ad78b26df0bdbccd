"""Where a clip is not as its other frames let expect: the errors of the spatial prediction, as numbers and as a picture."""

import numpy as np
import numpy.typing as npt
import torch

from pd.dataset.images import Pixels
from pd.forgery.network import GRID, ClipNet
from pd.forgery.windows import in_units

Errors = npt.NDArray[np.float32]
SHOWN = 48  # pixels a side of a frame in the picture


@torch.no_grad()
def errors(net: ClipNet, window: Pixels) -> Errors:
    """(T, GRID, GRID): squared error of each frame's cells, that frame alone being hidden.

    Args:
        net: pre-trained.
        window: (T, S, S, C) uint8.
    """
    device = next(net.parameters()).device
    frames = len(window)
    cells = net.cells(in_units(torch.from_numpy(np.ascontiguousarray(window)).to(device)[None]))
    seen = net.look(cells.expand(frames, -1, -1, -1), torch.eye(frames, dtype=torch.bool, device=device))
    hidden = torch.arange(frames, device=device)
    found = ((seen.predicted[hidden, hidden] - cells[0]) ** 2).mean(2)
    made: Errors = found.view(frames, GRID, GRID).cpu().numpy()
    return made


@torch.no_grad()
def against_mean(net: ClipNet, window: Pixels) -> float:
    """The prediction's error over that of the mean of the other frames; below 1: it knows more than the mean."""
    device = next(net.parameters()).device
    cells = net.cells(in_units(torch.from_numpy(np.ascontiguousarray(window)).to(device)[None]))[0].cpu().numpy()
    others = (cells.sum(0, keepdims=True) - cells) / (len(cells) - 1)
    return float(errors(net, window).mean() / ((cells - others) ** 2).mean())


def picture(window: Pixels, found: Errors, usual: float) -> Pixels:
    """(2 * 48, T * 48, 3) uint8: the frames, and below them the same with red where the error is above the usual.

    Args:
        window: (T, S, S, C) uint8.
        found: as `errors` gives them.
        usual: of real clips; three times as much is fully red.
    """
    columns = []
    for frame, cells in zip(window, found, strict=True):
        shown = _sized(np.broadcast_to(frame, (*frame.shape[:2], 3)))
        red = np.clip((cells / max(usual, 1e-9) - 1) / 2, 0, 1).repeat(SHOWN // GRID, 0).repeat(SHOWN // GRID, 1)[:, :, None]
        marked = shown * (1 - 0.7 * red) + np.array([230, 30, 30]) * 0.7 * red
        columns.append(np.concatenate([shown, np.rint(marked).astype(np.uint8)]))
    return np.concatenate(columns, axis=1)


def _sized(frame: Pixels) -> Pixels:
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize((SHOWN, SHOWN), Image.Resampling.BILINEAR))
