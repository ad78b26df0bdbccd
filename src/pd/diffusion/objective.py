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
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pd.diffusion.order import Order
from pd.diffusion.randomness import Purpose, stream


@dataclass(frozen=True)
class Batch:
    """What was drawn for the rows of one step (or of a part of it).

    Args:
        indices: (B,) int64, rows of the training data.
        timesteps: (B,) int64, from 0 to timesteps - 1.
        noise: (B, c, h, w) float32, standard normal, plus the offset where one is asked for.
        drop: (B,) bool, captions to be replaced by the empty one.
        variant: (B,) int64, which of the images' variants is visited, as `pd.diffusion.variants` counts them.
        spread: (B, c, h, w) float32, standard normal, times which the latents' deviation is added to their mean; None:
            they have no deviation worth adding.
    """

    indices: Tensor
    timesteps: Tensor
    noise: Tensor
    drop: Tensor
    variant: Tensor
    spread: Tensor | None

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, start: int, stop: int) -> "Batch":
        """Rows start to stop: a worker's share, or a micro-batch. Beyond the last row that one is repeated."""
        rows = slice(start, stop) if stop <= len(self) else torch.arange(start, stop).clamp(max=len(self) - 1)
        spread = None if self.spread is None else self.spread[rows]
        return Batch(self.indices[rows], self.timesteps[rows], self.noise[rows], self.drop[rows], self.variant[rows], spread)


def draw(
    seed: int,
    step: int,
    *,
    batch: int,
    images: int,
    latent_shape: tuple[int, int, int],
    caption_dropout: float,
    flip: bool = False,
    crops: int = 1,
    deviates: bool = False,
    noise_offset: float = 0.0,
    timesteps: int = 1000,
    order: Order | None = None,
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
        crops: squares cut from each image.
        deviates: draw `spread` too.
        noise_offset: deviation of what is added to the noise, one number for each channel of each row.
        timesteps: length of the noise schedule.
        order: of the rows; None: all of them shuffled as one window.
    """
    order = order or Order(seed, images)
    rng = stream(seed, Purpose.STEP, step)
    times = rng.integers(0, timesteps, size=batch)
    noise = rng.standard_normal((batch, *latent_shape), dtype=np.float32)
    drop = rng.random(batch) < caption_dropout
    mirrored = rng.random(batch) < (0.5 if flip else 0.0)
    square = rng.integers(0, crops, size=batch)
    spread = torch.from_numpy(rng.standard_normal((batch, *latent_shape), dtype=np.float32)) if deviates else None
    if noise_offset:
        noise += np.float32(noise_offset) * rng.standard_normal((batch, latent_shape[0], 1, 1), dtype=np.float32)
    return Batch(
        indices=torch.from_numpy(order.at(np.arange(step * batch, (step + 1) * batch))),
        timesteps=torch.from_numpy(times),
        noise=torch.from_numpy(noise),
        drop=torch.from_numpy(drop),
        variant=torch.from_numpy(mirrored * crops + square),
        spread=spread,
    )


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
    weights: Tensor | None = None,
) -> Tensor:
    """Weighted mean squared error of a prediction: a scalar, the mean of `row_errors`, times `weights` (B,) where given."""
    errors = row_errors(predicted, latents, noise, timesteps, alphas=alphas, prediction=prediction, gamma=gamma)
    return errors.mean() if weights is None else (errors * weights).mean()


def row_errors(
    predicted: Tensor,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    *,
    alphas: Tensor,
    prediction: Literal["v_prediction", "epsilon"],
    gamma: float | None,
) -> Tensor:
    """Weighted mean squared error of each row's prediction, (B,), computed in float32.

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
    return error if gamma is None else error * snr.clamp(max=gamma) / share
