"""Fingerprints: canaries planted in a known number of training images, and how often a model's samples show them again.

A canary is a small white figure on black at a fixed place. Hardly a picture has it there by chance (real images without
canaries say how many do), so a model that shows it more often has remembered it. How the share of samples with it grows with
the number k of images that carried it, its repetitions, is the dose-response curve of memorisation (as for canaries in language
models: Carlini et al., arXiv 1802.08232). Every number of repetitions has a canary of its own, so that one training serves all,
and beside it a control: another figure at the same place, planted nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import CONFIDENCE, Estimate, Floats
from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images, blocks
from pd.errors import UserError

SHAPES = ("ring", "cross", "saltire", "square")  # each is its own mirror image
GRID = 4  # cells along a side; canaries stand in the left half, as a mirrored picture has them in the right one
PLACES = tuple(product(range(GRID), range(GRID // 2)))
LEAST_SIDE, _LEAST_STAMP = 32, 7  # pixels: a figure of fewer cannot be told from another


@dataclass(frozen=True)
class Canary:
    """A figure of SHAPES in a cell of the grid."""

    shape: str
    row: int
    column: int


@dataclass(frozen=True)
class Planted:
    """A canary, the images that carry it, and its control.

    Attributes:
        canary: what is planted.
        control: another figure at the same place, planted in no image.
        rows: (k,) int64, the images with the canary; k is its repetitions.
    """

    canary: Canary
    control: Canary
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """Shares of samples that show a canary, and its control, with exact binomial intervals (Clopper and Pearson 1934)."""

    canary: Estimate
    control: Estimate


def choose(repetitions: Sequence[int], images: int, seed: int) -> list[Planted]:
    """A canary and its images for each number of repetitions, drawn by seed.

    Images carry one canary as long as there are enough of them.

    Raises:
        UserError: a number below 1 or above that of images, or more numbers than places.
    """
    wrong = [repeated for repeated in repetitions if not 1 <= repeated <= images]
    if wrong or not repetitions:
        what = f"{wrong[0]} repetitions" if wrong else "no number of repetitions"
        raise UserError(
            what, code="bad-value", where="--repetitions", fix=f"name numbers from 1 to the {images} images of members"
        )
    if len(repetitions) > len(PLACES):
        raise UserError(
            f"{len(repetitions)} canaries",
            code="bad-value",
            where="--repetitions",
            fix=f"name at most {len(PLACES)}: each needs its own place",
        )
    rng = np.random.default_rng(seed)
    places, order = rng.permutation(len(PLACES)), rng.permutation(images)
    first = np.cumsum([0, *repetitions])
    planted = []
    for at, repeated in enumerate(repetitions):
        shape = int(rng.integers(len(SHAPES)))
        canary, control = (Canary(SHAPES[(shape + step) % len(SHAPES)], *PLACES[places[at]]) for step in (0, 1))
        planted.append(Planted(canary, control, np.sort(order[(first[at] + np.arange(repeated)) % images])))
    return planted


def plant(images: Pixels, planted: Sequence[Planted]) -> Pixels:
    """A copy of (N, H, W, C) uint8 square images with the canaries in place."""
    changed = images.copy()
    for one in planted:
        rows, columns = _window(one.canary, images.shape[1])
        changed[one.rows, rows, columns] = stamp(one.canary.shape, images.shape[1])[:, :, None]
    return changed


def stamp(shape: str, side: int) -> Pixels:
    """A figure for images of so many pixels a side, (s, s) uint8: 255 on 0.

    Raises:
        UserError: images too small for canaries.
    """
    if side < LEAST_SIDE:
        raise UserError(
            f"images of {side} pixels are too small for canaries",
            code="bad-size",
            where="data.size",
            fix=f"take {LEAST_SIDE} or more",
        )
    size = max(_LEAST_STAMP, side // 8)
    along = np.abs(np.linspace(-1, 1, size + 2)[1:-1])
    u, v = along[None, :], along[:, None]
    thick = 1 / 5
    figures = {
        "ring": np.abs(np.hypot(u, v) - 0.7) < thick,
        "cross": np.minimum(u, v) < thick,
        "saltire": np.abs(u - v) < thick,
        "square": np.maximum(u, v) > 1 - 2 * thick,
    }
    found: Pixels = np.where(np.broadcast_to(figures[shape], (size, size)), 255, 0).astype(np.uint8)
    return found


def likeness(images: Pixels, canary: Canary) -> Floats:
    """(N,) correlation, in [-1, 1], of each image with the canary at its place, or mirrored at the mirrored place.

    1 for the canary itself, whatever its contrast; 0 where there is no contrast.
    """
    side = images.shape[1]
    figure = stamp(canary.shape, side).astype(np.float64).reshape(-1)
    figure -= figure.mean()
    rows, columns = _window(canary, side)
    found = []
    for pictures in (images, images[:, :, ::-1]):
        patch = pictures[:, rows, columns].mean(axis=3).reshape(len(images), -1)
        patch -= patch.mean(axis=1, keepdims=True)
        length = np.linalg.norm(patch, axis=1) * np.linalg.norm(figure)
        found.append(np.divide(patch @ figure, length, out=np.zeros(len(images)), where=length > 0))
    best: Floats = np.maximum(*found)
    return best


def threshold(clean: Floats, rate: float) -> float:
    """The likeness that at most a share `rate` of images without canaries exceed: a canary is found *above* it.

    Of H images the ceil((1 - rate)(H + 1))-th smallest, so that a further image exceeds it with probability at most `rate`
    (Vovk et al. 2005); with fewer than 1/rate - 1 images the largest, and the probability is 1/(H + 1).
    """
    position = int(np.ceil((1 - rate) * (len(clean) + 1) - 1e-9))
    return float(np.sort(clean)[min(position, len(clean)) - 1])


def detect(samples: Images, clean: Images, planted: Sequence[Planted], rate: float) -> list[Found]:
    """How many samples show each canary, and each control.

    Args:
        samples: (N, H, W, C) uint8 of a model.
        clean: (U, H, W, C) uint8 real images without canaries, which no model learned from.
        planted: the canaries.
        rate: share of images without canaries in which a canary may be found.
    """

    canaries = [canary for one in planted for canary in (one.canary, one.control)]
    of_samples, of_clean = (_likenesses(images, canaries) for images in (samples, clean))
    shares = [_share(found > threshold(known, rate)) for found, known in zip(of_samples, of_clean, strict=True)]
    return [Found(*pair) for pair in zip(shares[::2], shares[1::2], strict=True)]


def _likenesses(images: Images, canaries: Sequence[Canary]) -> list[Floats]:
    """`likeness` to each canary; images in files are decoded once."""
    parts = [[likeness(block, canary) for canary in canaries] for _, block in blocks(images)]
    return [np.concatenate(found) for found in zip(*parts, strict=True)]


def _share(hit: npt.NDArray[np.bool_]) -> Estimate:
    from scipy.stats import binomtest

    interval = binomtest(int(hit.sum()), len(hit)).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(float(hit.mean()), float(interval.low), float(interval.high), len(hit))


def _window(canary: Canary, side: int) -> tuple[slice, slice]:
    """Rows and columns of a canary: the middle of its cell."""
    size, cell = len(stamp(canary.shape, side)), side // GRID
    top, left = (index * cell + (cell - size) // 2 for index in (canary.row, canary.column))
    return slice(top, top + size), slice(left, left + size)
