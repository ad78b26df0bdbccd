"""The training objective: what is drawn for a step, and the weighted error of a prediction.

Everything random about step s is a function of (seed, s), drawn for the global batch and then cut into parts, so that
any number of workers and any micro-batch size sees the same noise.

Sources:
    velocity v = sqrt(abar) * noise - sqrt(1 - abar) * x0: Salimans & Ho, arXiv 2202.00512.
    min-SNR-gamma: Hang et al., arXiv 2303.09556. The squared error of x0 is weighted by min(SNR, gamma). As that of the
        noise is SNR times, and that of the velocity SNR + 1 times, that of x0, the weights are min(SNR, gamma) / SNR
        for noise and min(SNR, gamma) / (SNR + 1) for velocity.
    zero terminal SNR: Lin et al., arXiv 2305.08891 (the schedule's, see `schedule.py`).
    caption dropout: Ho & Salimans, arXiv 2207.12598.
    noise offset: Guttenberg, "Diffusion with offset noise" (2023): with plain noise a network hardly learns a picture's mean.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pd.diffusion.randomness import Purpose, stream


@dataclass(frozen=True)
class Batch:
    """What was drawn for the rows of one step (or of a part of it).

    Args:
        indices: (B,) int64, rows of the training data.
        timesteps: (B,) int64, from 0 to timesteps - 1.
        noise: (B, c, h, w) float32, standard normal, plus the offset where one is asked for.
        drop: (B,) bool, captions to be replaced by the empty one.
        flip: (B,) bool, images to be mirrored.
    """

    indices: Tensor
    timesteps: Tensor
    noise: Tensor
    drop: Tensor
    flip: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, start: int, stop: int) -> "Batch":
        """Rows start to stop: a worker's share, or a micro-batch."""
        rows = slice(start, stop)
        return Batch(self.indices[rows], self.timesteps[rows], self.noise[rows], self.drop[rows], self.flip[rows])


def draw(
    seed: int,
    step: int,
    *,
    batch: int,
    images: int,
    latent_shape: tuple[int, int, int],
    caption_dropout: float,
    flip: bool = False,
    noise_offset: float = 0.0,
    timesteps: int = 1000,
) -> Batch:
    """The global batch of a step, a function of the arguments alone.

    Rows are visited in epochs: each row once, in an order shuffled anew, before any row comes a second time.

    Args:
        seed: the training's seed.
        step: optimiser step, from 0.
        batch: rows of the global batch, over all workers and micro-batches.
        images: rows of the training data.
        latent_shape: (c, h, w).
        caption_dropout: share of captions dropped.
        flip: mirror half of the images.
        noise_offset: deviation of what is added to the noise, one number for each channel of each row.
        timesteps: length of the noise schedule.
    """
    if images < 1:
        raise ValueError("there are no images to draw from")
    rng = stream(seed, Purpose.STEP, step)
    times = rng.integers(0, timesteps, size=batch)
    noise = rng.standard_normal((batch, *latent_shape), dtype=np.float32)
    drop = rng.random(batch) < caption_dropout
    mirrored = rng.random(batch) < (0.5 if flip else 0.0)
    if noise_offset:
        noise += np.float32(noise_offset) * rng.standard_normal((batch, latent_shape[0], 1, 1), dtype=np.float32)
    return Batch(
        indices=torch.from_numpy(_rows(seed, step * batch, batch, images)),
        timesteps=torch.from_numpy(times),
        noise=torch.from_numpy(noise),
        drop=torch.from_numpy(drop),
        flip=torch.from_numpy(mirrored),
    )


def _rows(seed: int, start: int, count: int, images: int) -> np.ndarray:
    """Positions start to start + count of the endless sequence of shuffled epochs."""
    position = np.arange(start, start + count)
    epochs = position // images
    rows = np.empty(count, dtype=np.int64)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        here = epochs == epoch
        rows[here] = _order(seed, epoch, images)[position[here] % images]
    return rows


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    return stream(seed, Purpose.EPOCH, epoch).permutation(images)


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor) -> Tensor:
    """sqrt(abar_t) * latents + sqrt(1 - abar_t) * noise, (B, c, h, w) float32.

    Args:
        latents: (B, c, h, w) float32, clean.
        noise: (B, c, h, w) float32.
        timesteps: (B,) int64.
        alphas: (T,) float32, abar: the share of the signal's variance left at each timestep.
    """
    abar = alphas[timesteps].view(-1, 1, 1, 1)
    return abar.sqrt() * latents + (1 - abar).sqrt() * noise


def loss(
    predicted: Tensor,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    *,
    alphas: Tensor,
    prediction: Literal["v_prediction", "epsilon"],
    gamma: float | None,
) -> Tensor:
    """Weighted mean squared error of a prediction: a scalar, the mean over rows, computed in float32.

    Args:
        predicted: (B, c, h, w), any float type: the velocity or the noise.
        latents: (B, c, h, w) float32, clean.
        noise: (B, c, h, w) float32.
        timesteps: (B,) int64.
        alphas: (T,) float32, abar.
        prediction: what the network predicts.
        gamma: of min-SNR-gamma; None: every row counts the same.
    """
    abar = alphas[timesteps].float()
    snr = abar / (1 - abar)
    if prediction == "v_prediction":
        signal, spread = abar.sqrt().view(-1, 1, 1, 1), (1 - abar).sqrt().view(-1, 1, 1, 1)
        target, share = signal * noise - spread * latents, snr + 1
    else:
        target, share = noise, snr
    error = (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
    if gamma is not None:
        error = error * snr.clamp(max=gamma) / share
    return error.mean()
