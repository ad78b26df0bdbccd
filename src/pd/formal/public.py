"""Public pictures: read, encoded, and checked once against the private set."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pd.config import DataSettings, Settings
from pd.dataset.decode import BadImage, decode
from pd.dataset.images import Pixels
from pd.dataset.private import PrivateDataset
from pd.errors import UserError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL  # slow to import, and who only checks public pictures does without

    from pd.formal.warm_up import Latents

_SUFFIXES = {".png", ".jpg", ".jpeg", ".pgm", ".bmp", ".webp", ".tif", ".tiff"}
_NEAR = 0.99  # correlation of 8 x 8 thumbnails from which a picture passes for a copy; ours


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


def refuse_private(public: Pixels, private: Pixels) -> None:
    """Refuse public pictures that are private ones, by their pixels or as near-copies, mirrored or not.

    Raises:
        UserError: some are; how many is said, not which.
    """
    ours, theirs = _thumbnails(public), _thumbnails(private)
    both = np.concatenate([theirs, theirs.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)])
    near = sum(int((part @ both.T).max(axis=1).__ge__(_NEAR).sum()) for part in np.array_split(ours, len(ours) // 512 + 1))
    if near:
        raise UserError(
            f"{near:,} of {len(public):,} public pictures are private ones, or nearly",
            code="shared-images",
            where="public.path",
            fix="take them out: what is private and public too has no guarantee",
        )


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
    refuse_private(pixels, private.images[:])
    row = captions.index(settings.public.caption) if settings.public.caption in captions else 0
    return Latents(encode(vae, pixels), torch.full((len(pixels),), row, dtype=torch.int64))


def _thumbnails(images: Pixels) -> np.ndarray:
    """(N, 64) float32, of norm 1 and mean 0; a flat picture is all zero."""
    n, height, width, _ = images.shape
    grey = images.astype(np.float32).mean(axis=3)
    small = grey[:, : height // 8 * 8, : width // 8 * 8].reshape(n, 8, height // 8, 8, width // 8).mean(axis=(2, 4))
    flat = small.reshape(n, 64) - small.reshape(n, 64).mean(axis=1, keepdims=True)
    unit: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit
