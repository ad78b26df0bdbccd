"""Training with nothing but torch: what DeepSpeed, ZeRO and the average must come to."""

import math

import torch
from small_training import DATA, SEED, pictures
from torch import Tensor

from pd.config import ModelSettings
from pd.diffusion import autoencoder
from pd.diffusion.adapter import merge
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import build
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.ema import Ema
from pd.diffusion.objective import draw
from pd.seeds import derive


def bare_loop(chosen: ModelSettings) -> dict[str, Tensor]:
    """The weights of that training, named as `small_training.weights` names them."""
    images = pictures()
    vae = autoencoder.train(images.images) if chosen.autoencoder == "train" else None
    parts = build(chosen, DATA, derive(SEED, "weights"), vae)
    latents = autoencoder.encode(parts.vae, images.images)
    mirrored = autoencoder.encode(parts.vae, images.images[:, :, ::-1].copy())
    table = CaptionTable(parts.tokenizer, images.captions)
    model = Denoiser(parts, chosen)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.99), weight_decay=chosen.weight_decay)
    average = Ema(parameters, chosen.ema)
    for step in range(chosen.steps):
        warm = min(1.0, (step + 1) / chosen.warmup)
        cosine = 0.05 + 0.475 * (1 + math.cos(math.pi * step / chosen.steps))
        optimiser.param_groups[0]["lr"] = chosen.learning_rate * warm * cosine
        batch = draw(
            SEED,
            step,
            batch=chosen.batch,
            images=len(images),
            latent_shape=parts.latent_shape,
            caption_dropout=chosen.caption_dropout,
            flip=chosen.flip,
            noise_offset=chosen.noise_offset,
        )
        flip = (batch.variant == 1).view(-1, 1, 1, 1)
        text, rows = table.batch(batch.indices, batch.drop)
        if not chosen.trains_text_encoder:
            text = embed(parts.text_encoder, text)
        clean = torch.where(flip, mirrored[batch.indices], latents[batch.indices])
        model(clean, batch.noise, batch.timesteps, text, rows).backward()
        torch.nn.utils.clip_grad_norm_(parameters, chosen.clip_norm)
        optimiser.step()
        optimiser.zero_grad()
        average.update(parameters, step)
    for parameter, averaged in zip(parameters, average.averages, strict=True):
        parameter.data.copy_(averaged)
    for part in (parts.unet, parts.text_encoder):
        merge(part)
    unet = {f"unet.{name}": value for name, value in parts.unet.state_dict().items()}
    return unet | {f"text.{name}": value for name, value in parts.text_encoder.state_dict().items()}
