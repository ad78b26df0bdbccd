"""Images from prompts: each a function of (seed, sample id, prompt), whatever is sampled beside it."""

import copy
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from pd.config import Precision
from pd.dataset.images import Mode, Pixels, from_tensor
from pd.diffusion import autoencoder
from pd.diffusion.captions import embed
from pd.diffusion.components import Components
from pd.diffusion.cpu.fast_unet import FastUNet
from pd.diffusion.export import load
from pd.diffusion.randomness import Purpose, stream
from pd.diffusion.tokenizer import tokenize
from pd.training.precision import resolve

# Prompts whose embeddings are kept. Stable Diffusion 2's take 0.3 MB each.
_KEPT_PROMPTS = 1024
# Images the autoencoder decodes at once, at most: its first layers at full size are what needs most memory.
_DECODED = 16


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
        source: the model, which is copied, or a folder that `export` wrote.
        mode: grey or rgb.
        batch: images per forward; twice as many rows with guidance.
        device: a torch device.
        precision: the UNet's: fp32 gives the stock pipeline's images to a grey level, bf16 is quicker where the hardware
            multiplies bfloat16 quickly. All else, the solver too, is float32.
        compiled: compile the UNet where there is a GPU: worth its minute for more than a few batches.
    """

    def __init__(
        self,
        source: Components | Path,
        *,
        mode: Mode,
        batch: int = 64,
        device: str = "cpu",
        precision: Precision = "fp32",
        compiled: bool = True,
    ) -> None:
        parts = load(source) if isinstance(source, Path) else copy.deepcopy(source)
        self.mode, self.batch, self.device = mode, batch, torch.device(device)
        self.tokenizer = parts.tokenizer
        dtype = torch.bfloat16 if resolve(precision, torch.device(device)) == "bf16" else torch.float32
        self.unet = FastUNet(parts.unet, self.device, dtype, compiled)
        self.vae, self.text_encoder = (part.to(self.device).eval() for part in (parts.vae, parts.text_encoder))
        # Equal slices, so that it does not matter where in its batch a sample stands.
        self._slice = max(size for size in range(1, _DECODED + 1) if batch % size == 0)
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
            UserError: the model made NaN.
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
            self._ask(words + words[-1:] * filling, guidance)
            images = autoencoder.decode(self.vae, self._denoise(latents, steps, guidance), self._slice)
            parts.append(from_tensor(images[: len(here)], self.mode))
        return np.concatenate(parts)

    def _ask(self, prompts: Sequence[str], guidance: float) -> None:
        """Hand the UNet the prompts of a batch; with guidance, the empty one for a first half."""
        asked = [""] * len(prompts) * (guidance > 1) + list(prompts)
        row_of = {prompt: row for row, prompt in enumerate(dict.fromkeys(asked))}
        self.unet.set_text([self._embed(prompt) for prompt in row_of], [row_of[prompt] for prompt in asked])

    def _denoise(self, latents: Tensor, steps: int, guidance: float) -> Tensor:
        """Latents (B, c, h, w) from noise of the same shape."""
        self.scheduler.set_timesteps(steps, device=self.device)
        latents = latents * self.scheduler.init_noise_sigma
        for timestep in self.scheduler.timesteps:
            predicted = self.unet(latents, timestep)
            if guidance > 1:
                free, conditioned = predicted.chunk(2)
                predicted = free + guidance * (conditioned - free)
            latents = self.scheduler.step(predicted, timestep, latents).prev_sample
        return latents

    def _embed_one(self, prompt: str) -> Tensor:
        return embed(self.text_encoder, tokenize(self.tokenizer, [prompt]))
