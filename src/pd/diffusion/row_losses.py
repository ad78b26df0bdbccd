"""How well a model denoises given images: the loss of each, which membership inference reads.

The noise of an image is a function of (seed, image id), the timesteps are fixed, and every forward has the same shape, so
that a loss depends neither on what else is asked for nor on its place; and all models see the same noise.
"""

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images
from pd.diffusion import autoencoder
from pd.diffusion.captions import embed
from pd.diffusion.components import Components
from pd.diffusion.cpu.fast_unet import FastUNet
from pd.diffusion.export import load
from pd.diffusion.objective import add_noise, row_errors
from pd.diffusion.randomness import Purpose, stream
from pd.diffusion.schedule import alphas
from pd.diffusion.tokenizer import tokenize
from pd.progress import Progress, silent

# Early ones: little noise leaves detail to be remembered. Of 1,000, Carlini et al. (arXiv 2301.13188) found 50 to 300 the best.
# AUC of the faces' teacher (450 steps, 200 members, 200 hold-out images) by timestep: 0.94 at 25, 0.81 at 375, 0.59 at 775.
TIMESTEPS = (25, 75, 125, 175, 225, 275, 325, 375)


def row_losses(
    source: Components | Path,
    images: Images,
    ids: Sequence[str],
    texts: Sequence[str],
    *,
    seed: int,
    timesteps: Sequence[int] = TIMESTEPS,
    batch: int = 64,
    device: str = "cpu",
    progress: Progress = silent,
) -> npt.NDArray[np.float32]:
    """(N, T) mean squared error of the model's prediction (velocity or noise) for each image and timestep.

    Args:
        source: the model, which is copied, or a folder that `export` wrote.
        images: (N, H, W, C) uint8, in memory or in files, N at least 1.
        ids: N names of the images; with the seed they fix the noise, another one for each timestep.
        texts: N captions; the empty one asks for the loss without any.
        seed: of the noise.
        timesteps: T of the noise schedule, from 0 to its length - 1.
        batch: images per forward.
        device: a torch device.
        progress: called after each batch.
    """
    if not len(images) == len(ids) == len(texts):
        raise ValueError(f"{len(images)} images, {len(ids)} ids and {len(texts)} texts")
    losses = RowLosses(source, seed=seed, timesteps=timesteps, batch=batch, device=device)
    found = np.empty((len(images), len(timesteps)), np.float32)
    for start in range(0, len(images), batch):
        here = slice(start, min(start + batch, len(images)))
        found[here] = losses(images[here], ids[here], texts[here])
        progress(here.stop, len(images), {})
    return found


class RowLosses:
    """The losses of images, at most `batch` at a time; the model is loaded once. Arguments are those of `row_losses`."""

    def __init__(
        self,
        source: Components | Path,
        *,
        seed: int,
        timesteps: Sequence[int] = TIMESTEPS,
        batch: int = 64,
        device: str = "cpu",
    ) -> None:
        self._parts = load(source) if isinstance(source, Path) else copy.deepcopy(source)
        self._seed, self._timesteps, self._batch, self._device = seed, timesteps, batch, torch.device(device)
        self._unet = FastUNet(self._parts.unet, self._device, compiled=False)
        self._vae, self._text_encoder = (part.to(self._device).eval() for part in (self._parts.vae, self._parts.text_encoder))
        self._alphas = alphas(self._parts.scheduler).to(self._device)
        self._embedded: dict[str, Tensor] = {}

    @torch.inference_mode()
    def __call__(self, images: Pixels, ids: Sequence[str], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, T) of (n, H, W, C) uint8, n from 1 to `batch`."""
        batch, device, parts = self._batch, self._device, self._parts
        rows = np.minimum(np.arange(batch), len(images) - 1)  # the last forward is filled up
        latents = autoencoder.encode(self._vae, images[rows], batch).to(device)
        noise = _noise(self._seed, [ids[row] for row in rows], (len(self._timesteps), *parts.latent_shape)).to(device)
        words = list(dict.fromkeys(texts[row] for row in rows))
        self._unet.set_text([self._embed(word) for word in words], [words.index(texts[row]) for row in rows])
        found = np.empty((len(images), len(self._timesteps)), np.float32)
        prediction = parts.scheduler.config.prediction_type
        for at, step in enumerate(self._timesteps):
            times = torch.full((batch,), step, device=device)
            predicted = self._unet(add_noise(latents, noise[:, at], times, self._alphas), times[0])
            errors = row_errors(predicted, latents, noise[:, at], times, alphas=self._alphas, prediction=prediction, gamma=None)
            found[:, at] = errors[: len(images)].cpu().numpy()
        return found

    def _embed(self, text: str) -> Tensor:
        if text not in self._embedded:
            self._embedded[text] = embed(self._text_encoder, tokenize(self._parts.tokenizer, [text]))
        return self._embedded[text]


def _noise(seed: int, ids: Sequence[str], shape: tuple[int, ...]) -> Tensor:
    """(N, *shape) float32, standard normal: row i is a function of (seed, ids[i])."""
    numbers = (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") for name in ids)
    rows = [stream(seed, Purpose.MEMBERSHIP, number).standard_normal(shape, dtype=np.float32) for number in numbers]
    return torch.from_numpy(np.stack(rows))
