"""What a diffusion model makes or says, image by image, as functions for the mapper: samples, round trips, losses.

Models are imported where they are opened: diffusers takes ten seconds, and audits of other people's images do without.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from pd.config import Precision, digest_of
from pd.dataset.images import Mode, Pixels, encode_png, from_tensor
from pd.dataset.mapping import MakeRows, OfImages, columns
from pd.dataset.parquet_images import Images, images_digest
from pd.dataset.schema import IMAGE
from pd.store.files import digest_folder

_ROUND_TRIPS = 64  # images at a time


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of a model, as encoded images in the column `image`.

    Args:
        model: a diffusers folder.
        prompts: what each sample is asked for, (N,).
        seed: of the set; a sample is a function of (seed, its number, its prompt).
        mode: grey or rgb.
        size: pixels a side, for what the work is reckoned at.
        steps: of the solver.
        guidance: scale of classifier-free guidance.
        batch: samples per forward.
        precision: of the UNet.
    """

    model: Path
    prompts: Sequence[str]
    seed: int
    mode: Mode
    size: int
    steps: int
    guidance: float
    batch: int
    precision: Precision

    @cached_property
    def key(self) -> str:
        told = [digest_folder(self.model), list(self.prompts), self.seed, self.mode, self.steps, self.guidance, self.batch]
        return digest_of([*told, self.precision])

    @property
    def total(self) -> int:
        return len(self.prompts)

    @property
    def pixel_bytes(self) -> int:
        return len(self.prompts) * self.size * self.size * (3 if self.mode == "rgb" else 1)

    def open(self, device: str) -> MakeRows:
        from pd.diffusion.sampler import Sampler

        sampler = Sampler(self.model, mode=self.mode, batch=self.batch, device=device, precision=self.precision)

        def make(rows: range) -> pa.Table:
            texts = [self.prompts[row] for row in rows]
            images = sampler.sample(list(rows), texts, self.seed, self.steps, self.guidance)
            return encoded([f"{row:09d}" for row in rows], images)

        return make


@dataclass(frozen=True, eq=False)
class RoundTrips(OfImages):
    """Images through a model's autoencoder and back, as encoded images in the column `image`.

    Args:
        model: a diffusers folder.
        images: (N, H, W, C) uint8, in memory or in files.
        mode: grey or rgb.
    """

    model: Path
    images: Images
    mode: Mode

    batch = _ROUND_TRIPS

    @cached_property
    def key(self) -> str:
        return digest_of([digest_folder(self.model), images_digest(self.images), self.mode])

    def open(self, device: str) -> MakeRows:
        from pd.diffusion import autoencoder
        from pd.diffusion.export import load

        vae = load(self.model).vae.to(device)

        def make(rows: range) -> pa.Table:
            latents = autoencoder.encode(vae, self.images[rows.start : rows.stop])
            images = from_tensor(autoencoder.decode(vae, latents), self.mode)
            return encoded([str(row) for row in rows], images)

        return make


@dataclass(frozen=True, eq=False)
class Losses(OfImages):
    """How well a model denoises images: (T,) losses of each in the column `loss` (see `pd.diffusion.row_losses`).

    Args:
        model: a diffusers folder.
        images: (N, H, W, C) uint8, in memory or in files.
        ids: their names, by which and by the seed the noise is drawn.
        texts: their captions.
        seed: of the noise.
    """

    model: Path
    images: Images
    ids: Sequence[str]
    texts: Sequence[str]
    seed: int

    batch = 64

    @cached_property
    def key(self) -> str:
        return digest_of([digest_folder(self.model), images_digest(self.images), list(self.ids), list(self.texts), self.seed])

    def open(self, device: str) -> MakeRows:
        from pd.diffusion.row_losses import RowLosses

        losses = RowLosses(self.model, seed=self.seed, batch=self.batch, device=device)

        def make(rows: range) -> pa.Table:
            here = slice(rows.start, rows.stop)
            return columns({"loss": losses(self.images[here], self.ids[here], self.texts[here])})

        return make


def encoded(names: Sequence[str], images: Pixels) -> pa.Table:
    """A table with the column `image`, of (N, H, W, C) uint8."""
    structs = [{"bytes": encode_png(image), "path": f"{name}.png"} for name, image in zip(names, images, strict=True)]
    return pa.table({"image": pa.array(structs, IMAGE)})
