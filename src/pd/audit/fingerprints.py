"""Fingerprints: marks planted in a known number of training images, and how often a model's samples show them again.

A mark is a small white figure on black at a fixed place. Hardly a picture has it there by chance (real images without marks
say how many do), so a model that shows it more often has remembered it; and how the share of samples with it grows with the
number k of images that carried it is the dose-response curve of memorisation (as canaries are for language models: Carlini
et al., arXiv 1802.08232). Every dose has a mark of its own, so that one training serves all doses, and beside it a control:
another figure at the same place, planted nowhere.
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
GRID = 4  # cells along a side; marks stand in the left half, as a mirrored picture has them in the right one
PLACES = tuple(product(range(GRID), range(GRID // 2)))
LEAST_SIDE, _LEAST_STAMP = 32, 7  # pixels: a figure of fewer cannot be told from another


@dataclass(frozen=True)
class Mark:
    """A figure of SHAPES in a cell of the grid."""

    shape: str
    row: int
    column: int


@dataclass(frozen=True)
class Planted:
    """A mark, the images that carry it, and its control.

    Attributes:
        mark: what is planted.
        control: another figure at the same place, planted in no image.
        rows: (k,) int64, the images with the mark; k is the dose.
    """

    mark: Mark
    control: Mark
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """Shares of samples that show a mark, and its control, with exact binomial intervals (Clopper and Pearson 1934)."""

    mark: Estimate
    control: Estimate


def choose(doses: Sequence[int], images: int, seed: int) -> list[Planted]:
    """A mark and its images for each dose, drawn by seed. Images carry one mark as long as there are enough of them.

    Raises:
        UserError: a dose below 1 or above the number of images, or more doses than places.
    """
    wrong = [dose for dose in doses if not 1 <= dose <= images]
    if wrong or not doses:
        what = f"a dose of {wrong[0]}" if wrong else "no dose"
        raise UserError(
            what, code="bad-value", where="--doses", fix=f"name numbers of marked images, from 1 to the {images} of members"
        )
    if len(doses) > len(PLACES):
        raise UserError(
            f"{len(doses)} doses",
            code="bad-value",
            where="--doses",
            fix=f"name at most {len(PLACES)}: each needs its own place",
        )
    rng = np.random.default_rng(seed)
    places, order = rng.permutation(len(PLACES)), rng.permutation(images)
    first = np.cumsum([0, *doses])
    planted = []
    for at, dose in enumerate(doses):
        shape = int(rng.integers(len(SHAPES)))
        mark, control = (Mark(SHAPES[(shape + step) % len(SHAPES)], *PLACES[places[at]]) for step in (0, 1))
        planted.append(Planted(mark, control, np.sort(order[(first[at] + np.arange(dose)) % images])))
    return planted


def plant(images: Pixels, planted: Sequence[Planted]) -> Pixels:
    """A copy of (N, H, W, C) uint8 square images with the marks in place."""
    marked = images.copy()
    for one in planted:
        rows, columns = _window(one.mark, images.shape[1])
        marked[one.rows, rows, columns] = stamp(one.mark.shape, images.shape[1])[:, :, None]
    return marked


def stamp(shape: str, side: int) -> Pixels:
    """A figure for images of so many pixels a side, (s, s) uint8: 255 on 0.

    Raises:
        UserError: images too small for marks.
    """
    if side < LEAST_SIDE:
        raise UserError(
            f"images of {side} pixels are too small for marks",
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


def likeness(images: Pixels, mark: Mark) -> Floats:
    """(N,) correlation, in [-1, 1], of each image with the mark at its place, or mirrored at the mirrored place.

    1 for the mark itself, whatever its contrast; 0 where there is no contrast.
    """
    side = images.shape[1]
    figure = stamp(mark.shape, side).astype(np.float64).reshape(-1)
    figure -= figure.mean()
    rows, columns = _window(mark, side)
    found = []
    for pictures in (images, images[:, :, ::-1]):
        patch = pictures[:, rows, columns].mean(axis=3).reshape(len(images), -1)
        patch -= patch.mean(axis=1, keepdims=True)
        length = np.linalg.norm(patch, axis=1) * np.linalg.norm(figure)
        found.append(np.divide(patch @ figure, length, out=np.zeros(len(images)), where=length > 0))
    best: Floats = np.maximum(*found)
    return best


def threshold(unmarked: Floats, rate: float) -> float:
    """The likeness that at most a share `rate` of unmarked images exceed: a mark is found *above* it.

    Of H images the ceil((1 - rate)(H + 1))-th smallest, so that a further image exceeds it with probability at most `rate`
    (Vovk et al. 2005); with fewer than 1/rate - 1 images the largest, and the probability is 1/(H + 1).
    """
    position = int(np.ceil((1 - rate) * (len(unmarked) + 1) - 1e-9))
    return float(np.sort(unmarked)[min(position, len(unmarked)) - 1])


def detect(samples: Images, unmarked: Images, planted: Sequence[Planted], rate: float) -> list[Found]:
    """How many samples show each mark, and each control.

    Args:
        samples: (N, H, W, C) uint8 of a model.
        unmarked: (U, H, W, C) uint8 real images without marks, which no model learned from.
        planted: the marks.
        rate: share of unmarked images in which a mark may be found.
    """

    marks = [mark for one in planted for mark in (one.mark, one.control)]
    of_samples, of_unmarked = (_likenesses(images, marks) for images in (samples, unmarked))
    shares = [_share(found > threshold(known, rate)) for found, known in zip(of_samples, of_unmarked, strict=True)]
    return [Found(*pair) for pair in zip(shares[::2], shares[1::2], strict=True)]


def _likenesses(images: Images, marks: Sequence[Mark]) -> list[Floats]:
    """`likeness` to each mark; images in files are decoded once."""
    parts = [[likeness(block, mark) for mark in marks] for _, block in blocks(images)]
    return [np.concatenate(found) for found in zip(*parts, strict=True)]


def _share(hit: npt.NDArray[np.bool_]) -> Estimate:
    from scipy.stats import binomtest

    interval = binomtest(int(hit.sum()), len(hit)).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(float(hit.mean()), float(interval.low), float(interval.high), len(hit))


def _window(mark: Mark, side: int) -> tuple[slice, slice]:
    """Rows and columns of a mark: the middle of its cell."""
    size, cell = len(stamp(mark.shape, side)), side // GRID
    top, left = (index * cell + (cell - size) // 2 for index in (mark.row, mark.column))
    return slice(top, top + size), slice(left, left + size)
