"""Public pictures: read, encoded, and checked once against the private set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from pd.config import DataSettings, Settings
from pd.dataset.decode import BadImage, decode
from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images, blocks, rows_of
from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.reid.altered_copies import AlteredCopies

if TYPE_CHECKING:
    from diffusers import AutoencoderKL  # slow to import, and who only checks public pictures does without

    from pd.formal.warm_up import Latents

_SUFFIXES = {".png", ".jpg", ".jpeg", ".pgm", ".bmp", ".webp", ".tif", ".tiff"}
_NEAR = 0.99  # correlation of 8 x 8 thumbnails from which a picture passes for a copy, at least; ours
_EQUAL = 1 - 1e-5  # ... at most: what is equal but for rounding is a copy, however alike private pictures are
_ALTERED = 0.85  # likeness from which it passes for an altered one, at least; strangers of LFW and NIH reach 0.78; ours
_CLEAR = 0.1  # above what different people's private pictures usually reach; ours
_USUAL = 0.98  # of private pictures; ours
_COMPARED = 300  # private pictures that are compared with other people's; ours
_AT_ONCE = 64

Index = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def read_public(path: Path, shape: DataSettings) -> Pixels:
    """All pictures below a folder, (N, H, W, C) uint8; what cannot be decoded is left out.

    Raises:
        UserError: there is no picture.
    """
    found = []
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in _SUFFIXES and file.is_file():
            try:
                found.append(decode(file.read_bytes(), shape).pixels)
            except BadImage:
                continue
    if not found:
        raise UserError(
            "no public picture here", code="no-images", where=f"public.path = {path}", fix="name a folder of pictures"
        )
    return np.stack(found)


def refuse_private(public: Pixels, private: Images, people: Sequence[str]) -> None:
    """Refuse public pictures that are private ones: by their pixels, as near-copies, mirrored or not, or as altered copies.

    Altered copies (`pd.reid.altered_copies`) are turned, re-toned or compressed ones, and some cropped ones: of faces cropped
    to seven eighths half are seen, of those cropped at a corner none. What counts as a copy follows from how much private
    pictures of different people are alike, so that clothes, which all look alike, are not refused. Where every picture has a
    name of its own, other pictures of one person count as different people's, and altered copies may pass.

    Args:
        public: (N, H, W, C) uint8.
        private: (M, H, W, C) uint8, in memory or in files.
        people: M names, who is in each private picture.

    Raises:
        UserError: some are; how many is said, not which.
    """
    who = np.unique(np.asarray(people, dtype=str), return_inverse=True)[1].reshape(-1)
    drawn = np.random.default_rng(0).permutation(len(private))[:_COMPARED]
    ours, theirs = _thumbnails(public), np.concatenate([_thumbnails(block) for _, block in blocks(private)])

    def alike(rows: Floats) -> Floats:
        turned = rows.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)
        found: Floats = np.maximum(rows @ theirs.T, turned @ theirs.T)
        return found

    usual = _likeness_of_others(lambda rows: alike(theirs[rows]), drawn, who)
    limit = min(max(_NEAR, 1 - (1 - usual) / 4), _EQUAL)
    found = np.concatenate([alike(part).max(axis=1) >= limit for part in _parts(ours)])
    copies = AlteredCopies.of(private, quick=True)
    usual = _likeness_of_others(lambda rows: copies.likeness(rows_of(private, rows)[:]), drawn, who)
    limit = max(_ALTERED, usual + _CLEAR)
    found |= np.concatenate([copies.score(part) >= limit for part in _parts(public)])
    if found.any():
        raise UserError(
            f"{found.sum():,} of {len(public):,} public pictures are private ones, or nearly",
            code="shared-images",
            where="public.path",
            fix="take them out: what is private and public too has no guarantee",
        )


def _likeness_of_others(alike: Callable[[Index], Floats], drawn: Index, who: Index) -> float:
    """The likeness to other people's pictures that _USUAL of the drawn private pictures do not exceed; of one person alone: 0.

    Not the largest: now and then a picture has been filed under two names.
    """
    most = []
    for rows in _parts(drawn):
        likeness = alike(rows)
        likeness[who[rows][:, None] == who] = 0
        most.append(likeness.max(axis=1, initial=0))
    return float(np.quantile(np.concatenate(most), _USUAL))


def _parts(values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return np.array_split(values, len(values) // _AT_ONCE + 1)


def public_latents(settings: Settings, vae: "AutoencoderKL", captions: list[str], private: PrivateDataset) -> "Latents":
    """Latents of the section `public`, all under one of the captions where theirs is there, else under the first.

    Raises:
        UserError: there is no such section or picture, or private ones are among them.
    """
    from pd.diffusion.autoencoder import encode
    from pd.formal.warm_up import Latents

    if settings.public is None:
        raise UserError("there is no section `public`", code="bad-options", where="formal.public", fix="add one, with a path")
    if settings.public.reader != "folder":
        raise UserError(
            "public pictures for pre-training are read from a folder",
            code="bad-options",
            where="public.reader",
            fix="set folder",
        )
    pixels = read_public(settings.public.path, settings.data)
    refuse_private(pixels, private.images, private.identities)
    row = captions.index(settings.public.caption) if settings.public.caption in captions else 0
    return Latents(encode(vae, pixels), torch.full((len(pixels),), row, dtype=torch.int64))


def _thumbnails(images: Pixels) -> Floats:
    """(N, 64) float32, of norm 1 and mean 0; a flat picture is all zero."""
    n, height, width, _ = images.shape
    grey = images.astype(np.float32).mean(axis=3)
    small = grey[:, : height // 8 * 8, : width // 8 * 8].reshape(n, 8, height // 8, 8, width // 8).mean(axis=(2, 4))
    flat = small.reshape(n, 64) - small.reshape(n, 64).mean(axis=1, keepdims=True)
    unit: Floats = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit
