"""Forgeries made of real clips, in four kinds that leave other traces: for heads to learn from, and for measuring them.

Each is the plainest form of what a family of generators leaves behind. A head that knows these four knows four traces; what
a new generator leaves may be a fifth.

- blend: an oval of another person's clip is put over the face; its edge trembles by itself (replaced faces).
- swap: some frames stand at another's place (edited or dropped frames).
- reencode: each frame is compressed by itself, every time differently (frame-wise generators, whose texture flickers).
- warp: the region of the mouth is bent at a speed of its own (lips moved to another sound).
"""

import io
import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from pd.dataset.images import Pixels
from pd.seeds import derive

Chance = np.random.Generator
Forge = Callable[[Pixels, Pixels, Chance], Pixels]
"""(T, H, W, C) uint8 of a clip, (T', H, W, C) of another person's, and what draws: (T, H, W, C) uint8."""

JITTER = 0.03  # of the side, most that a patch trembles  # ours
OVAL = (0.5, 0.55, 0.3, 0.36)  # centre and half axes of the patch, shares of the sides  # ours
SWAPPED = 0.3  # of the frames  # ours
FAR = 4  # frames that a swapped one moves, at most  # ours
QUALITY = (15, 60)  # of JPEG, from and to  # ours
MOUTH = (0.5, 0.75, 0.24, 0.16)  # centre and half axes of the region of the mouth, of a face that fills the picture  # ours
BEND = 0.05  # of the side, most that the mouth is moved  # ours


def blend(clip: Pixels, other: Pixels, chance: Chance) -> Pixels:
    """Another person's face over this one, moved by a little in each frame."""
    frames, height, width = clip.shape[:3]
    donor = other[np.arange(frames) % len(other)].astype(np.float32)
    own = clip.astype(np.float32)
    # The patch gets this clip's light: means and deviations of its channels.
    patch = (donor - donor.mean((0, 1, 2))) / np.maximum(donor.std((0, 1, 2)), 1) * own.std((0, 1, 2)) + own.mean((0, 1, 2))
    made = np.empty_like(own)
    for index in range(frames):
        dx, dy = (chance.normal(size=2) * JITTER / 2).clip(-JITTER, JITTER) * (width, height)
        shown = np.roll(patch[index], (round(dy), round(dx)), (0, 1))
        mask = _oval(height, width, OVAL[0] + dx / width, OVAL[1] + dy / height, *OVAL[2:])[:, :, None]
        made[index] = own[index] * (1 - mask) + shown * mask
    return _bytes(made)


def swap(clip: Pixels, other: Pixels, chance: Chance) -> Pixels:
    """Some frames exchanged with ones that come a little later."""
    order = np.arange(len(clip))
    for place in chance.choice(len(clip), max(1, round(SWAPPED * len(clip) / 2)), replace=False).tolist():
        away = min(place + int(chance.integers(1, FAR + 1)), len(clip) - 1)
        order[[place, away]] = order[[away, place]]
    return np.ascontiguousarray(clip[order])


def reencode(clip: Pixels, other: Pixels, chance: Chance) -> Pixels:
    """Each frame as a JPEG of its own quality."""
    made = []
    for frame in clip:
        file = io.BytesIO()
        grey = frame.shape[2] == 1
        Image.fromarray(frame[:, :, 0] if grey else frame).save(file, "JPEG", quality=int(chance.integers(*QUALITY)))
        made.append(np.asarray(Image.open(file, formats=["JPEG"])).reshape(frame.shape))
    return np.stack(made)


def warp(clip: Pixels, other: Pixels, chance: Chance) -> Pixels:
    """The mouth opened and closed at a speed of its own."""
    frames, height, width = clip.shape[:3]
    speed, phase = chance.uniform(0.8, 2.2), chance.uniform(0, 2 * math.pi)
    mask = _oval(height, width, *MOUTH)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    grids = []
    for index in range(frames):
        bend = 2 * BEND * (math.sin(speed * index + phase) + 0.3 * chance.normal())
        grids.append(np.stack([x, y - bend * mask * np.sign(y - (2 * MOUTH[1] - 1))], axis=2))
    images = torch.from_numpy(clip).permute(0, 3, 1, 2).float()
    bent = F.grid_sample(images, torch.from_numpy(np.stack(grids).astype(np.float32)), "bilinear", "border", True)
    return _bytes(bent.permute(0, 2, 3, 1).numpy())


KINDS: Mapping[str, Forge] = {"blend": blend, "swap": swap, "reencode": reencode, "warp": warp}


def forge(kind: str, clip: Pixels, other: Pixels, seed: int, *names: str | int) -> Pixels:
    """A forgery of a kind, drawn from (seed, names).

    Args:
        kind: of KINDS.
        clip: (T, H, W, C) uint8, the real one.
        other: (T', H, W, C) uint8, of another person; only `blend` looks at it.
        seed: everything follows from it.
        names: of the clip.
    """
    return KINDS[kind](clip, other, np.random.default_rng(derive(seed, "forge", kind, *names)))


def _oval(height: int, width: int, x: float, y: float, a: float, b: float) -> npt.NDArray[np.float32]:
    """(H, W) in [0, 1]: 1 within an ellipse, falling off over a fifth of its axes."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    far = np.hypot(((columns + 0.5) / width - x) / a, ((rows + 0.5) / height - y) / b)
    found: npt.NDArray[np.float32] = np.clip((1.1 - far) / 0.2, 0, 1).astype(np.float32)
    return found


def _bytes(values: npt.NDArray[np.float32]) -> Pixels:
    return np.rint(values).clip(0, 255).astype(np.uint8)
