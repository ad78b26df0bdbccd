"""Images from prompts: each a function of (seed, sample id, prompt), whatever is sampled beside it."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from pd.dataset.images import Mode, Pixels, from_tensor
from pd.diffusion import autoencoder
from pd.diffusion.captions import embed
from pd.diffusion.components import Components
from pd.diffusion.export import load
from pd.diffusion.randomness import Purpose, stream
from pd.diffusion.tokenizer import tokenize

# Prompts whose embeddings are kept. Stable Diffusion 2's take 0.3 MB each.
_KEPT_PROMPTS = 1024


def noise(seed: int, ids: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """(N, *shape) float32, standard normal: row i is a function of (seed, ids[i])."""
    rows = [stream(seed, Purpose.SAMPLE, sample).standard_normal(shape, dtype=np.float32) for sample in ids]
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros((0, *shape))


class Sampler:
    """DPM-Solver++ 2M (Lu et al., arXiv 2211.01095) with classifier-free guidance (Ho & Salimans, arXiv 2207.12598).

    The numbers are those of stock `diffusers.StableDiffusionPipeline` for the same latents. Every forward has exactly
    `batch` rows (the last one is filled up), and a prompt is embedded on its own: floating point sums depend on the
    shape of a batch, and a sample must not depend on what happens to share its batch. Another `batch` is another shape:
    on a CPU, in float32, the `tiny` network makes the same pixels for 1 to 64; of the `small` one's 1 in 7,000 or fewer is
    one grey level off, and a score moves by up to 3e-4 where one is.

    Args:
        source: the model, or a folder that `export` wrote.
        mode: grey or rgb.
        batch: images per forward; twice as many rows with guidance.
        device: a torch device.
    """

    def __init__(self, source: Components | Path, *, mode: Mode, batch: int = 64, device: str = "cpu") -> None:
        parts = load(source) if isinstance(source, Path) else source
        self.mode, self.batch, self.device = mode, batch, torch.device(device)
        self.tokenizer = parts.tokenizer
        self.unet, self.vae, self.text_encoder = (
            part.to(self.device).eval() for part in (parts.unet, parts.vae, parts.text_encoder)
        )
        self.latent_shape = parts.latent_shape
        # A copy: schedulers keep state between steps.
        self.scheduler = DPMSolverMultistepScheduler.from_config(parts.scheduler.config)
        self._embed = lru_cache(_KEPT_PROMPTS)(self._embed_one)

    @torch.inference_mode()
    def sample(self, ids: Sequence[int], prompts: Sequence[str], seed: int, steps: int, guidance: float) -> Pixels:
        """One image per id.

        Args:
            ids: N sample ids, from 0; with the seed they fix the noise.
            prompts: N texts.
            seed: the seed of the whole set.
            steps: solver steps.
            guidance: scale of classifier-free guidance; 1: none, at half the cost.

        Returns:
            (N, H, W, C) uint8.

        Raises:
            UserError: a prompt is longer than the tokenizer takes, or the model made NaN.
        """
        if len(ids) != len(prompts):
            raise ValueError(f"{len(ids)} ids but {len(prompts)} prompts")
        if not ids:
            side = self.latent_shape[1] * (1 << (len(self.vae.config.block_out_channels) - 1))
            return np.zeros((0, side, side, 3 if self.mode == "rgb" else 1), np.uint8)
        parts = []
        for start in range(0, len(ids), self.batch):
            here, words = list(ids[start : start + self.batch]), list(prompts[start : start + self.batch])
            filling = self.batch - len(here)
            latents = noise(seed, here + here[-1:] * filling, self.latent_shape).to(self.device)
            text = torch.cat([self._embed(prompt) for prompt in words + words[-1:] * filling])
            images = autoencoder.decode(self.vae, self._denoise(latents, text, steps, guidance), self.batch)
            parts.append(from_tensor(images[: len(here)], self.mode))
        return np.concatenate(parts)

    def _denoise(self, latents: Tensor, text: Tensor, steps: int, guidance: float) -> Tensor:
        """Latents (B, c, h, w) from noise of the same shape and embeddings (B, L, d)."""
        guided = guidance > 1
        if guided:
            text = torch.cat([self._embed("").expand_as(text), text])
        self.scheduler.set_timesteps(steps, device=self.device)
        latents = latents * self.scheduler.init_noise_sigma
        for timestep in self.scheduler.timesteps:
            predicted = self.unet(torch.cat([latents, latents]) if guided else latents, timestep, text).sample
            if guided:
                free, conditioned = predicted.chunk(2)
                predicted = free + guidance * (conditioned - free)
            latents = self.scheduler.step(predicted, timestep, latents).prev_sample
        return latents

    def _embed_one(self, prompt: str) -> Tensor:
        return embed(self.text_encoder, tokenize(self.tokenizer, [prompt]))
