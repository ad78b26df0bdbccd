"""How a recogniser may see a picture: small, blurred, noisy, pale, or with a part hidden.

One module for the students' training, for planted leaks and for attackers.

As in `pd.reid.augment`, what is random is drawn on the CPU, and rows of the draws are rows of the batch. All numbers are ours.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pd.config.recognisers import VIEWS, resolution_of
from pd.dataset.images import Mode, Pixels, from_tensor, to_tensor
from pd.errors import UserError
from pd.reid.augment import Draws, add_noise, blur, low_resolution, tone

_BATCH = 256


def check_views(views: Sequence[str], side: int, where: str) -> None:
    """Refuse resolutions above that of the pictures.

    Raises:
        UserError: one is.
    """
    for view in views:
        if (resolution_of(view) or 0) > side:
            raise UserError(
                f"'{view}' is above the pictures' {side}x{side}",
                code="bad-size",
                where=where,
                fix="leave it out, or set data.size higher",
            )


def draw_views(views: Sequence[str], n: int, shape: tuple[int, ...], generator: torch.Generator) -> Draws:
    """All that is random in `n` pictures (C, H, W), each shown in one of the views, drawn for it."""
    which = torch.randint(len(views), (n,), generator=generator)
    _, height, width = shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    numbers = {"sigma": uniform(0.04, 0.1) * width, "noise": uniform(0.3, 0.6), "contrast": uniform(0.15, 0.4)}
    white = torch.randn((n, *shape), generator=generator)
    fill = uniform(-1, 1).view(-1, 1, 1, 1).expand(n, *shape)
    drawn: Draws = {
        "share": torch.ones(n),
        "sigma": torch.zeros(n),
        "noise": torch.zeros(n),
        "contrast": torch.ones(n),
        "cover": torch.zeros(n, 1, height, width),
        "fill": fill.clone(),
        "white": white,
    }
    for number, view in enumerate(views):
        rows = (which == number).nonzero()[:, 0]
        if side := resolution_of(view):
            drawn["share"][rows] = min(side / width, 1.0)
        elif view in _COVERS:
            for row in rows.tolist():
                drawn["cover"][row, 0] = _COVERS[view](height, width, generator)
            if view == "masked":  # a mask is pale, with folds across
                folds = 0.7 + 0.15 * torch.sin(torch.arange(height) * (24 * torch.pi / height)).view(1, 1, height, 1)
                drawn["fill"][rows] = folds.expand(len(rows), shape[0], height, width)
        elif view != "clear":
            name = {"blurred": "sigma", "noisy": "noise", "low contrast": "contrast"}[view]
            drawn[name][rows] = numbers[name][rows]
    return drawn


def see(drawn: Draws, images: Tensor) -> Tensor:
    """The views of images (N, C, H, W) in [-1, 1] that were drawn for them; both on the same device."""
    x = images * (1 - drawn["cover"]) + drawn["fill"] * drawn["cover"]
    x = tone(x, brightness=torch.zeros_like(drawn["contrast"]), contrast=drawn["contrast"])
    return add_noise(low_resolution(blur(x, sigma=drawn["sigma"]), share=drawn["share"]), drawn["noise"], drawn["white"])


def seen(images: Pixels, view: str, seed: int) -> Pixels:
    """Pictures in one view.

    Args:
        images: (N, H, W, C) uint8.
        view: of VIEWS, or `RxR`.
        seed: of all chance in it; a picture's depends on its place, too.

    Returns:
        (N, H, W, C) uint8.
    """
    mode: Mode = "rgb" if images.shape[3] == 3 else "grey"
    found = [images[:0]]
    for at in range(0, len(images), _BATCH):
        part = to_tensor(images[at : at + _BATCH])
        drawn = draw_views([view], len(part), tuple(part.shape[1:]), torch.Generator().manual_seed(seed + at))
        if mode == "grey":
            drawn["white"] = drawn["white"][:, :1].expand(-1, 3, -1, -1)
        found.append(from_tensor(see(drawn, part), mode))
    return np.concatenate(found)


def _half(height: int, width: int, generator: torch.Generator) -> Tensor:
    """The upper, lower, left or right half."""
    cover = torch.zeros(height, width)
    side = int(torch.randint(4, (1,), generator=generator))
    rows, columns = (slice(None), slice(None))
    if side < 2:
        rows = slice(height // 2, None) if side else slice(None, height // 2)
    else:
        columns = slice(width // 2, None) if side == 2 else slice(None, width // 2)
    cover[rows, columns] = 1
    return cover


def _eyes(height: int, width: int, generator: torch.Generator) -> Tensor:
    """A band over the eyes of an aligned face, as sunglasses cover it."""
    top, tall = torch.rand(2, generator=generator).tolist()
    top, tall = 0.2 + 0.1 * top, 0.2 + 0.08 * tall
    cover = torch.zeros(height, width)
    cover[round(top * height) : round((top + tall) * height)] = 1
    return cover


def _boxes(height: int, width: int, generator: torch.Generator) -> Tensor:
    """One to three boxes, of a quarter to a half of the sides."""
    cover = torch.zeros(height, width)
    for _ in range(int(torch.randint(1, 4, (1,), generator=generator))):
        tall, wide, down, right = torch.rand(4, generator=generator).tolist()
        tall, wide = round((0.25 + 0.25 * tall) * height), round((0.25 + 0.25 * wide) * width)
        down, right = round(down * (height - tall)), round(right * (width - wide))
        cover[down : down + tall, right : right + wide] = 1
    return cover


def _blobs(height: int, width: int, generator: torch.Generator) -> Tensor:
    """A third of the picture, where smooth noise is largest."""
    coarse = torch.rand(1, 1, 4, 4, generator=generator)
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[0, 0]
    return (smooth > smooth.quantile(2 / 3)).float()


def _mask(height: int, width: int, generator: torch.Generator) -> Tensor:
    """A surgical mask: from the bridge of the nose to below the chin, narrower there."""
    top = 0.5 + 0.08 * torch.rand(1, generator=generator).item()
    down, right = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width - 0.5, indexing="ij"
    )
    reach = 0.46 - 0.35 * (down - top).clamp_min(0)  # half of its width
    upper = top + 0.12 * right.abs()
    return ((down >= upper) & (right.abs() <= reach) & (down <= 0.97)).float()


_COVERS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "half hidden": _half,
    "eyes hidden": _eyes,
    "boxes": _boxes,
    "blobs": _blobs,
    "masked": _mask,
}
HIDDEN = tuple(view for view in VIEWS if view in _COVERS)
"""Views that hide a part."""
SHIFTED = ("blurred", "noisy", "low contrast")
"""Views that shift the domain."""
