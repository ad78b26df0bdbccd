"""Copies as somebody might disguise them, planted to see what audit and filter catch. No detector knows this list.

What a copy is turned into depends on (seed, number of the image) alone.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from pd.dataset.images import Pixels

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Way = Callable[[Pixels, Pixels, np.random.Generator], Pixels]


def disguised(images: Pixels, others: Pixels, seed: int) -> dict[str, Pixels]:
    """Each image in every disguise.

    Args:
        images: (N, H, H, C) uint8.
        others: (S, H, H, C) uint8, other people's pictures, which copies are put into or mixed with.
        seed: of angles, places and other pictures.

    Returns:
        kind -> (N, H, H, C) uint8.
    """
    return {kind: way(images, others, np.random.default_rng([seed, number])) for number, (kind, way) in enumerate(WAYS.items())}


def _scaled(images: Pixels, height: int, width: int) -> Pixels:
    pixels = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    small = F.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return _pixels(small)


def _pixels(values: torch.Tensor) -> Pixels:
    found: Pixels = values.clamp(0, 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return found


def _moved(
    images: Pixels, edge: str, *, degrees: object = 0.0, size: float = 1.0, right: object = 0.0, down: object = 0.0
) -> Pixels:
    """Turned by degrees, shown `size` times as large, shifted by shares of the side; each a number or (N,)."""
    n = len(images)
    angle = np.deg2rad(np.broadcast_to(np.asarray(degrees, np.float64), n))
    cos, sin = np.cos(angle) / size, np.sin(angle) / size
    shift = [2 * np.broadcast_to(np.asarray(share, np.float64), n) for share in (right, down)]
    theta = np.stack([np.stack([cos, -sin, shift[0]], 1), np.stack([sin, cos, shift[1]], 1)], 1)
    pixels = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    grid = F.affine_grid(torch.from_numpy(theta).float(), list(pixels.shape), align_corners=False)
    return _pixels(F.grid_sample(pixels, grid, padding_mode=edge, align_corners=False))


def _signs(images: Pixels, chance: np.random.Generator) -> Floats:
    return chance.choice([-1.0, 1.0], len(images))


def _framed(share: float, grey: int) -> Way:
    def way(images: Pixels, _: Pixels, __: np.random.Generator) -> Pixels:
        wide = max(round(share * images.shape[1]), 1)
        found = np.full_like(images, grey)
        found[:, wide:-wide, wide:-wide] = images[:, wide:-wide, wide:-wide]
        return found

    return way


def _shrunk_into_frame(images: Pixels, _: Pixels, __: np.random.Generator) -> Pixels:
    side = images.shape[1]
    inner = round(0.8 * side)
    at = (side - inner) // 2
    found = np.zeros_like(images)
    found[:, at : at + inner, at : at + inner] = _scaled(images, inner, inner)
    return found


def _letterboxed(squeezed: bool) -> Way:
    def way(images: Pixels, _: Pixels, __: np.random.Generator) -> Pixels:
        side = images.shape[1]
        bar = side // 8
        found = np.zeros_like(images)
        found[:, bar : side - bar] = _scaled(images, side - 2 * bar, side) if squeezed else images[:, bar : side - bar]
        return found

    return way


def _shifted(edge: str) -> Way:
    return lambda images, _, chance: _moved(images, edge, right=0.1 * _signs(images, chance), down=0.1 * _signs(images, chance))


def _zoomed(size: float) -> Way:
    return lambda images, _, __: _moved(images, "reflection", size=size)


def _turned(degrees: float, edge: str = "reflection") -> Way:
    return lambda images, _, chance: _moved(images, edge, degrees=degrees * _signs(images, chance))


def _blurred_to(share: float) -> Way:
    def way(images: Pixels, _: Pixels, __: np.random.Generator) -> Pixels:
        side = images.shape[1]
        small = max(round(share * side), 1)
        return _scaled(_scaled(images, small, small), side, side)

    return way


def _pasted(images: Pixels, others: Pixels, chance: np.random.Generator) -> Pixels:
    side = images.shape[1]
    half = side // 2
    found = others[chance.integers(len(others), size=len(images))].copy()
    small = _scaled(images, half, half)
    for row, (down, right) in enumerate(chance.integers(0, side - half + 1, (len(images), 2))):
        found[row, down : down + half, right : right + half] = small[row]
    return found


def _tiled(times: int) -> Way:
    def way(images: Pixels, _: Pixels, __: np.random.Generator) -> Pixels:
        side = images.shape[1]
        small = -(-side // times)
        found: Pixels = np.tile(_scaled(images, small, small), (1, times, times, 1))[:, :side, :side]
        return found

    return way


def _covered(start: float, stop: float, grey: int) -> Way:
    def way(images: Pixels, _: Pixels, __: np.random.Generator) -> Pixels:
        side = images.shape[1]
        found = images.copy()
        found[:, round(start * side) : round(stop * side)] = grey
        return found

    return way


def _morphed(images: Pixels, others: Pixels, chance: np.random.Generator) -> Pixels:
    drawn = others[chance.integers(len(others), size=len(images))]
    mean: Pixels = ((images.astype(np.uint16) + drawn) // 2).astype(np.uint8)
    return mean


def _sketched(images: Pixels, _: Pixels, __: np.random.Generator) -> Pixels:
    values = images.astype(np.int64)
    edges = np.abs(np.diff(values, axis=1, append=values[:, -1:])) + np.abs(np.diff(values, axis=2, append=values[:, :, -1:]))
    found: Pixels = (255 - np.clip(3 * edges, 0, 255)).astype(np.uint8)
    return found


def _shuffled(images: Pixels, _: Pixels, __: np.random.Generator) -> Pixels:
    half = images.shape[1] // 2
    found: Pixels = np.roll(images, (half, half), axis=(1, 2))
    return found


def _all_at_once(images: Pixels, _: Pixels, chance: np.random.Generator) -> Pixels:
    n = len(images)
    moved = _moved(
        images[:, :, ::-1].copy(),
        "reflection",
        degrees=chance.uniform(-10, 10, n),
        size=1.1,
        right=chance.uniform(-0.06, 0.06, n),
        down=chance.uniform(-0.06, 0.06, n),
    )
    return 255 - moved


WAYS: dict[str, Way] = {
    "framed": _framed(1 / 32, 0),
    "framed wide": _framed(3 / 32, 255),
    "shrunk into a frame": _shrunk_into_frame,
    "letterboxed": _letterboxed(False),
    "letterboxed and squeezed": _letterboxed(True),
    "shifted to a black edge": _shifted("zeros"),
    "shifted to a reflected edge": _shifted("reflection"),
    "zoomed in": _zoomed(1.25),
    "zoomed in by half": _zoomed(1.5),
    "zoomed out": _zoomed(0.8),
    "turned by 5": _turned(5),
    "turned by 15": _turned(15),
    "turned by 15 to a black edge": _turned(15, "zeros"),
    "turned by 90": lambda images, _, __: np.ascontiguousarray(np.rot90(images, 1, (1, 2))),
    "mirrored": lambda images, _, __: np.ascontiguousarray(images[:, :, ::-1]),
    "mirrored upside down": lambda images, _, __: np.ascontiguousarray(images[:, ::-1]),
    "negative": lambda images, _, __: 255 - images,
    "low contrast": lambda images, _, __: (128 + 0.2 * (images.astype(np.float32) - 128)).round().astype(np.uint8),
    "blurred to a quarter": _blurred_to(1 / 4),
    "blurred to an eighth": _blurred_to(1 / 8),
    "pasted at half size": _pasted,
    "tiled 2 x 2": _tiled(2),
    "tiled 3 x 3": _tiled(3),
    "quarters exchanged": _shuffled,
    "bar over the eyes": _covered(5 / 16, 1 / 2, 0),
    "lower half covered": _covered(9 / 16, 1, 200),
    "morphed with a stranger": _morphed,
    "sketched": _sketched,
    "mirrored turned zoomed shifted and negative": _all_at_once,
}
"""What is tried; kinds that nothing is expected to catch are among them, so that they are named."""
