"""Altered copies: pictures of members that were moved, zoomed, turned, mirrored, framed, inverted, blurred or put into others.

A part of each member picture, as it is, is looked for in many places of a picture, at many sizes and angles: normalised
cross-correlation of windows (Lewis, "Fast normalized cross-correlation", Vision Interface 1995), of either sign, so that
negatives are found. Windows are blurred, weighted towards their middle and freed of their mean and slope, so that what lies
outside them, a frame or a bar, hardly counts; then whitened part of the way, as `pd.filters.near_copy` whitens. The middle is
looked for at many angles, at half its size everywhere, and blurred, for copies that have lost their detail; the upper and the
lower part for copies that are partly covered. All is linear up to the correlation, so that all windows of a picture are one
product of matrices.

A correlation means little by itself: aligned faces are all alike. It counts against what the picture has in common with one in
ten members: the ratio of distances by which matches of local features are told (Lowe, "Distinctive image features from
scale-invariant keypoints", IJCV 2004).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pd.dataset.parquet_images import Images, blocks, rows_of

SIDE = 24  # pixels of a side that pictures are compared at
_GRID = 12  # points of a window's side
_AXES = 32  # numbers of a window
_POWER = 0.3  # of the second moment along an axis; ours, as in near_copy
_LEAST = 1e-4  # of the largest second moment, below which an axis is noise; ours
_FLAT = 0.02  # of a picture's strongest window: a weaker one shows nothing; ours
_COHORT = 256  # member images whose likeness is what a picture has in common with members; ours
_COMMON = 0.9  # of these
_ENOUGH = 20  # members from which on that can be told
_ENOUGH_LEVELS = 200  # member pictures from which windows' levels are estimated
_ENOUGH_AXES = 400  # member images from which axes are estimated
_BYTES = 16 << 20  # of pixels at a time; as float32 they are four times as many
_NUMBERS = 1 << 23  # correlations held at a time


@dataclass(frozen=True)
class Pose:
    """Where a window of a member picture lies in another picture; coordinates run from -1 to 1.

    Attributes:
        degrees: turned by so much, after it was mirrored.
        mirrored: left and right exchanged.
        right_scale, down_scale: size of the copy.
        right, down: where its middle is.
    """

    degrees: float = 0.0
    mirrored: bool = False
    right_scale: float = 1.0
    down_scale: float = 1.0
    right: float = 0.0
    down: float = 0.0


@dataclass(frozen=True)
class Window:
    """A part of a member picture, and where it is looked for.

    Attributes:
        name: in files.
        down: its middle.
        half: half of its height.
        half_width: half of its width.
        blur: standard deviation, pixels of SIDE.
        gallery_blur: the same of the member pictures.
        poses: of the copy.
        few: those that are tried where a candidate must cost little.
    """

    name: str
    down: float
    half: float
    half_width: float
    blur: float
    gallery_blur: float
    poses: tuple[Pose, ...]
    few: tuple[Pose, ...]

    def points(self, pose: Pose) -> Tensor:
        """(_GRID², 2) float32: where its points lie in a copy of this pose, right and down."""
        line = (torch.arange(_GRID) + 0.5) / _GRID * 2 - 1
        down, right = torch.meshgrid(line, line, indexing="ij")
        at = torch.stack([self.half_width * right.flatten(), self.down + self.half * down.flatten()], 1)
        if pose.mirrored:
            at = at * torch.tensor([-1.0, 1.0])
        at = at * torch.tensor([pose.right_scale, pose.down_scale])
        cos, sin = math.cos(math.radians(pose.degrees)), math.sin(math.radians(pose.degrees))
        return at @ torch.tensor([[cos, sin], [-sin, cos]]) + torch.tensor([pose.right, pose.down])


def _around(step: float) -> list[tuple[float, float]]:
    return [(right, down) for right in (-step, 0.0, step) for down in (-step, 0.0, step)]


def _dihedral() -> list[Pose]:
    return [Pose(degrees, mirror) for degrees in (0.0, 90.0, 180.0, 270.0) for mirror in (False, True)]


def _fine() -> tuple[Pose, ...]:
    found = []
    for one in _dihedral():
        steps = (0.1, 0.2) if one.degrees == 0 else (0.2,)  # twice as fine where it stands upright
        found += [Pose(one.degrees, one.mirrored, 1, 1, right, down) for step in steps for right, down in _around(step)]
        found += [Pose(one.degrees + turn, one.mirrored) for turn in (-15, -7, 7, 15)]
        found += [Pose(one.degrees, one.mirrored, size, size) for size in (0.67, 0.82, 1.22, 1.5)]
        found += [Pose(one.degrees, one.mirrored, 1, 0.75), Pose(one.degrees, one.mirrored, 0.75, 1)]
    return tuple(found)


def _small() -> tuple[Pose, ...]:
    places = np.linspace(-0.5, 0.5, 17).tolist()  # by half a pixel of 16: a copy of half the size is put anywhere
    return tuple(Pose(0, False, 0.5, 0.5, right, down) for right in places for down in places)


def _all_ways() -> tuple[Pose, ...]:
    return tuple(Pose(one.degrees, one.mirrored, 1, 1, right, down) for one in _dihedral() for right, down in _around(0.15))


def _few() -> tuple[Pose, ...]:
    found = _dihedral()
    for mirror in (False, True):
        found += [Pose(0, mirror, 1, 1, right, down) for step in (0.1, 0.2) for right, down in _around(step)]
        found += [Pose(turn, mirror) for turn in (-14, -7, 7, 14)]
        found += [Pose(0, mirror, size, size) for size in (0.82, 1.22, 1.5)]
        found += [Pose(0, mirror, 1, 0.75), Pose(0, mirror, 0.75, 1)]
    return tuple(found)


_SIDES = tuple(Pose(0, mirror, 1, 1, right, down) for mirror in (False, True) for right, down in _around(0.15))
_BOTH = (Pose(), Pose(0, True))
WINDOWS = (
    Window("middle", 0.0, 0.55, 0.58, 1.3, 1.3, _fine(), _few()),
    Window("upper", -0.62, 0.36, 0.75, 1.3, 1.3, _SIDES, _BOTH),
    Window("lower", 0.6, 0.38, 0.75, 1.3, 1.3, _SIDES, _BOTH),
    Window("small", 0.0, 0.75, 0.75, 2.0, 2.3, _small(), ()),
    Window("blurred", 0.0, 0.7, 0.7, 1.4, 2.6, _all_ways(), tuple(_dihedral())),
)
_MOVED = (
    *(Pose(turn) for turn in (0.0, -8.0, 8.0)),
    *(Pose(0, False, size, size) for size in (0.9, 1.1)),
    *(Pose(0, False, 1, 1, right, down) for right, down in ((0.08, 0), (0, 0.08))),
)
"""Poses of members' own windows, from which the axes are estimated."""


class AlteredCopies:
    """Looks for copies of a gallery's pictures. Learns no people.

    Args:
        axes: window -> (_GRID², k) float32, what its points are projected on.
        rows: window -> (M, k) float32, unit rows of the gallery's pictures; zero where a window shows nothing.
        levels: window -> (1,) float32, the likeness that a picture has to the most similar of others by that window.
        quick: tries few poses, a tenth: for a stream of candidates.
    """

    def __init__(
        self,
        axes: Mapping[str, NDArray[np.float32]],
        rows: Mapping[str, NDArray[np.float32]],
        levels: Mapping[str, NDArray[np.float32]],
        quick: bool = False,
    ) -> None:
        self.quick = quick
        self._windows = [(window, poses) for window in WINDOWS if (poses := window.few if quick else window.poses)]
        self.axes, self.rows, self.levels = dict(axes), dict(rows), dict(levels)
        self._gallery = {name: torch.from_numpy(np.ascontiguousarray(found)) for name, found in rows.items()}
        self._maps = {one.name: _map(one, poses, torch.from_numpy(axes[one.name])) for one, poses in self._windows}

    @classmethod
    def of(cls, members: Images, *, quick: bool = False) -> Self:
        """Of (M, H, W, C) uint8 pictures, M at least 1."""
        small = members[:: -(-len(members) // _ENOUGH_AXES)]
        grey = _grey(small)
        axes = {window.name: _axes(window, grey) for window in WINDOWS}
        levels = {window.name: np.zeros(1, np.float32) for window in WINDOWS}
        found = cls(axes, _rows(axes, members), levels, quick)
        found.levels = found._likest_others(members[:: -(-len(members) // _ENOUGH_LEVELS)], -(-len(members) // _ENOUGH_LEVELS))
        return found

    def gallery(self, images: Images) -> Self:
        """Another gallery, compared by the same axes."""
        other = object.__new__(type(self))
        other.quick, other._windows = self.quick, self._windows
        other.axes, other.rows, other.levels, other._maps = self.axes, _rows(self.axes, images), self.levels, self._maps
        other._gallery = {name: torch.from_numpy(found) for name, found in other.rows.items()}
        return other

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """What `read` needs, by name."""
        parts = (("axes", self.axes), ("rows", self.rows), ("levels", self.levels))
        return {f"{part}/{name}": np.ascontiguousarray(values[name]) for part, values in parts for name in values}

    @classmethod
    def read(cls, tensors: Mapping[str, NDArray[np.float32]], *, quick: bool = False) -> Self:
        """From `tensors`. Raises KeyError where one is missing."""
        axes, rows, levels = (
            {window.name: tensors[f"{part}/{window.name}"] for window in WINDOWS} for part in ("axes", "rows", "levels")
        )
        return cls(axes, rows, levels, quick)

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        # What follows from these is larger by far, and made again in a second.
        return type(self), (self.axes, self.rows, self.levels, self.quick)

    def score(self, images: NDArray[np.uint8], own: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """(N,) float32, likeness to the most similar gallery picture.

        Args:
            images: (N, H, W, C) uint8.
            own: (N,) a picture of the gallery for each, that does not count; None: all do.
        """
        likeness = self.likeness(images)
        if own is not None:
            likeness[np.arange(len(images)), own] = -np.inf
        found: NDArray[np.float32] = likeness.max(axis=1)
        return found

    def likeness(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, M) float32: 1 where a picture holds a copy of a gallery's one, about 0 or less where it does not.

        Args:
            images: (N, H, W, C) uint8.
        """
        found = np.empty((len(images), len(self.rows[WINDOWS[0].name])), np.float32)
        step = self._at_once
        for at in range(0, len(images), step):
            found[at : at + step] = self._likeness(images[at : at + step]).numpy()
        return found

    @property
    def _at_once(self) -> int:
        """Pictures whose correlations are held at a time."""
        poses = max(len(poses) for _, poses in self._windows)
        return max(1, _NUMBERS // (poses * len(self.rows[WINDOWS[0].name])))

    def _likest_others(self, images: NDArray[np.uint8], step: int) -> dict[str, NDArray[np.float32]]:
        """By window, the median over each step-th gallery picture of its likeness to the most similar other one."""
        if len(self.rows[WINDOWS[0].name]) < _ENOUGH:
            return self.levels
        parts: dict[str, list[NDArray[np.float32]]] = {window.name: [] for window, _ in self._windows}
        some = min(16, self._at_once)
        for at in range(0, len(images), some):
            for name, likeness in self._by_window(images[at : at + some]):
                rows = torch.arange(len(likeness))
                likeness[rows, (at + rows) * step] = -torch.inf
                parts[name].append(likeness.amax(1).numpy())
        found = {name: np.array([np.median(np.concatenate(part))], np.float32) for name, part in parts.items()}
        return self.levels | found

    def _likeness(self, images: NDArray[np.uint8]) -> Tensor:
        best = None
        for name, likeness in self._by_window(images):
            level = float(self.levels[name][0])
            scaled = (likeness - level) / max(1 - level, 0.05)
            best = scaled if best is None else torch.maximum(best, scaled)
        assert best is not None
        return best

    def _by_window(self, images: NDArray[np.uint8]) -> Iterator[tuple[str, Tensor]]:
        """Window -> (n, M), before windows are made comparable."""
        pixels = _grey(images).flatten(1)
        pixels = pixels - pixels.mean(1, keepdim=True)
        pixels = pixels / pixels.std(1, keepdim=True).clamp_min(0.01)
        for window, poses in self._windows:
            rows = (pixels @ self._maps[window.name]).view(len(images) * len(poses), -1)
            length = rows.norm(dim=1).view(len(images), -1)
            strong = (_FLAT * length.amax(1, keepdim=True)).clamp_min(1e-6)
            rows = rows / torch.maximum(length, strong).view(-1, 1)
            gallery = self._gallery[window.name]
            cosine = (rows @ gallery.T).view(len(images), -1, len(gallery)).abs_().amax(1)
            if len(gallery) >= _ENOUGH:
                cohort = cosine[:, :: -(-len(gallery) // _COHORT)]
                common = torch.quantile(cohort, _COMMON, dim=1, keepdim=True)
                cosine = 1 - (1 - cosine) / (1.01 - common)
            yield window.name, cosine


def _grey(images: Images) -> Tensor:
    """(N, H, W, C) uint8, in memory or in files, to (N, 1, SIDE, SIDE) float32 in [0, 1]."""
    parts = [torch.empty(0, 1, SIDE, SIDE)]
    for _, block in blocks(images, _BYTES):
        pixels = torch.tensor(block).float().mean(dim=3).div(255)[:, None]
        parts.append(F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False))
    return torch.cat(parts)


def _sampled(window: Window, pixels: Tensor, poses: Sequence[Pose], blur: float) -> Tensor:
    """(N, P, _GRID²): a window in each pose, of (N, 1, SIDE, SIDE)."""
    found = torch.empty(len(pixels), len(poses), _GRID**2)
    sizes: dict[float, list[int]] = {}
    for number, pose in enumerate(poses):
        sizes.setdefault(round(math.sqrt(pose.right_scale * pose.down_scale), 3), []).append(number)
    for size, numbers in sizes.items():
        blurred = _blurred(pixels, blur * size)  # a small copy is seen as blurred as a large one
        points = torch.stack([window.points(poses[number]) for number in numbers])
        # The pictures as channels of one: all are sampled at the same points.
        found[:, numbers] = F.grid_sample(
            blurred.transpose(0, 1), points[None], padding_mode="reflection", align_corners=False
        )[0]
    line = (torch.arange(_GRID) + 0.5) / _GRID * 2 - 1
    down, right = torch.meshgrid(line, line, indexing="ij")
    weight = torch.exp(-(right.square() + down.square()) / (4 * 0.6**2)).flatten()
    level = torch.stack([weight, weight * right.flatten(), weight * down.flatten()], 1)
    basis = torch.linalg.qr(level)[0]
    weighted = found * weight
    level_free: Tensor = weighted - (weighted @ basis) @ basis.T
    return level_free


def _map(window: Window, poses: Sequence[Pose], axes: Tensor) -> Tensor:
    """(SIDE², P * k): pixels to the projected windows in all poses, from what it does to single pixels."""
    single = torch.eye(SIDE**2).view(-1, 1, SIDE, SIDE)
    step = 64  # poses at a time: bounds memory
    parts = [_sampled(window, single, poses[at : at + step], window.blur) @ axes for at in range(0, len(poses), step)]
    return torch.cat(parts, 1).flatten(1).contiguous()


def _axes(window: Window, pixels: Tensor) -> NDArray[np.float32]:
    """(_GRID², k) float32: principal axes of members' windows, scaled."""
    rows = _sampled(window, pixels, _MOVED, window.gallery_blur).flatten(0, 1).double()
    moments, axes = torch.linalg.eigh(rows.T @ rows / len(rows))
    moments, axes = moments.flip(0)[:_AXES], axes.flip(1)[:, :_AXES]
    largest = moments[0].clamp_min(1e-12)
    scaled = axes / (moments / largest).clamp_min(_LEAST) ** _POWER
    return np.ascontiguousarray(scaled.float().numpy())


def _rows(axes: Mapping[str, NDArray[np.float32]], images: Images) -> dict[str, NDArray[np.float32]]:
    found: dict[str, list[Tensor]] = {window.name: [] for window in WINDOWS}
    for at in range(0, len(images), 1024):
        grey = _grey(rows_of(images, np.arange(at, min(at + 1024, len(images)))))
        for window in WINDOWS:
            rows = _sampled(window, grey, [Pose()], window.gallery_blur)[:, 0]
            rows = rows @ torch.from_numpy(axes[window.name])
            found[window.name].append(torch.where(rows.norm(dim=1, keepdim=True) > 1e-3, F.normalize(rows, dim=1), 0.0))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def _blurred(pixels: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    taps = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * sigma**2))
    taps = taps / taps.sum()
    padded = F.pad(pixels, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))
