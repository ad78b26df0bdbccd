"""Which attackers find most in samples that look like these: chosen on leaks planted among members, never on the samples.

The samples say two things of themselves, in which no attacker has a part: how blurred they are beside members'
pictures, and of what size they are. Members' pictures are then blurred as much and, of these, shown at a third of the size,
noisy and half hidden; what passes for a member is what an attacker finds. The set is filled greedily, each time by the
attacker that adds most, until none adds `_LEAST`, or there are `_MOST`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pd.audit.attack import Attack
from pd.audit.results import Strong
from pd.dataset.images import Mode, Pixels, from_tensor, to_tensor
from pd.dataset.parquet_images import Images
from pd.reid.augment import blur
from pd.reid.views import seen

_PLANTED = 120  # pictures of each kind; ours
_LEAST = 0.01  # of the planted leaks, that an attacker must add; ours
_MOST = 4  # attackers in the set: each more makes the worst one's correction larger; ours
_WIDTHS = np.linspace(0.0, 0.12, 25)  # blur that is tried, shares of the side; ours
_LOOKED = 256  # pictures whose sharpness is measured


@dataclass(frozen=True, eq=False)
class Planted:
    """Leaks that look as samples do.

    Attributes:
        images: (N, H, W, C) uint8, made of members' pictures.
        blur: that they were given, share of the side.
    """

    images: Pixels
    blur: float


def planted_like(samples: Images, members: Images, seed: int) -> Planted:
    """Members' pictures at the samples' blur: as they are then, small, and half hidden."""
    width = blur_of(samples, members)
    rows = np.sort(np.random.default_rng(seed).permutation(len(members))[:_PLANTED])
    soft = _blurred(np.ascontiguousarray(members[rows]), width)
    small = f"{max(soft.shape[1] // 3, 4)}x{max(soft.shape[1] // 3, 4)}"
    kinds = [soft, seen(soft, small, seed), seen(soft, "half hidden", seed), seen(soft, "noisy", seed)]
    return Planted(np.concatenate(kinds), width)


def blur_of(samples: Images, members: Images) -> float:
    """The blur, share of the side, under which members' pictures are as smooth as samples; 0 where these are sharper."""
    real = np.ascontiguousarray(members[: min(_LOOKED, len(members))])
    target = _sharpness(np.ascontiguousarray(samples[: min(_LOOKED, len(samples))]))
    sharp = np.array([_sharpness(_blurred(real, float(width))) for width in _WIDTHS])
    return float(_WIDTHS[np.abs(sharp - target).argmin()])


def choose(attacks: Mapping[str, Attack], planted: Planted) -> Strong:
    """The set that finds most of them, in the order in which it was filled."""
    passing: dict[str, NDArray[np.bool_]] = {name: attack.passing(planted.images) for name, attack in attacks.items()}
    chosen: list[str] = []
    found = np.zeros(len(planted.images), bool)
    while len(chosen) < min(_MOST, len(passing)):
        gains = {name: float((found | hits).mean()) for name, hits in passing.items() if name not in chosen}
        best = max(gains, key=lambda name: gains[name])
        if chosen and gains[best] < found.mean() + _LEAST:
            break
        chosen.append(best)
        found |= passing[best]
    return Strong(
        chosen=chosen,
        found={name: float(hits.mean()) for name, hits in passing.items()},
        together=float(found.mean()),
        blur=planted.blur,
        planted=len(planted.images),
    )


def _blurred(images: Pixels, width: float) -> Pixels:
    if not width:
        return images
    mode: Mode = "rgb" if images.shape[3] == 3 else "grey"
    sigma = torch.full((len(images),), width * images.shape[2])
    return from_tensor(blur(to_tensor(images), sigma=sigma), mode)


def _sharpness(images: Pixels) -> float:
    """Mean squared step between neighbours, beside the variance."""
    grey = images.astype(np.float64).mean(axis=3)
    steps = np.square(np.diff(grey, axis=1)).mean() + np.square(np.diff(grey, axis=2)).mean()
    spread = grey.var(axis=(1, 2)).mean()
    return float(steps / max(spread, 1e-6))
