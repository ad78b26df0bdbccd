"""The parts of a text-conditional latent diffusion model, teacher's and student's alike."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pd.config import DataSettings, ModelSettings
from pd.diffusion import adapter, autoencoder, pretrained, schedule, tokenizer
from pd.diffusion.presets import TEXT_MODELS, UNETS
from pd.errors import UserError


@dataclass
class Components:
    """The five parts of a StableDiffusionPipeline (Rombach et al., arXiv 2112.10752).

    Args:
        unet: predicts velocity or noise of latents (B, c, h, w).
        vae: images (B, 3, H, W) in [-1, 1] to latents and back.
        text_encoder: tokens (B, L) to embeddings (B, L, d).
        tokenizer: text to tokens, always padded to `model_max_length`.
        scheduler: the noise schedule, and the sampler.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DPMSolverMultistepScheduler

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image's latents."""
        side: int = self.unet.config.sample_size
        return (self.unet.config.in_channels, side, side)


def build(model: ModelSettings, data: DataSettings, seed: int, vae: AutoencoderKL | None = None) -> Components:
    """A model before its training: from scratch in a named size, or a base to fine-tune, with LoRA's additions if wanted.

    Args:
        model: base, revision, unet, autoencoder, prediction, zero_terminal_snr, and what is trained.
        data: size and mode of the images.
        seed: new weights are drawn from it and from nothing else.
        vae: the autoencoder, when the settings say `autoencoder: train`; see `autoencoder.train`.

    Raises:
        UserError: settings that do not go together, a base that is not there or that pd cannot use, or parts whose
            channels or sizes do not fit.
    """
    if (vae is not None) != (model.autoencoder == "train"):
        raise ValueError("an autoencoder is handed over when, and only when, the settings say `autoencoder: train`")
    base = None if model.base is None else pretrained.read(pretrained.locate(model.base, model.revision))
    scheduler = schedule.build(model, base.scheduler if base else None)
    if vae is None:
        vae = base.vae if base and model.autoencoder == "base" else autoencoder.bundled(data.mode, data.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if base:
            unet, text_encoder, words = base.unet, base.text_encoder, base.tokenizer
        else:
            words = tokenizer.build()
            text_encoder = _text_model(TEXT_MODELS[model.unet], words)
            unet = _unet(UNETS[model.unet], vae.config.latent_channels, text_encoder.config.hidden_size)
    # The size that stock diffusers samples when it is not told one.
    unet.register_to_config(sample_size=data.size // vae_factor(vae))
    components = Components(unet, vae.eval().requires_grad_(False), text_encoder, words, scheduler)
    _check(components, data)
    adapter.attach(unet, text_encoder, model, seed)
    return components


def vae_factor(vae: AutoencoderKL) -> int:
    """Pixels along an edge per latent, as stock diffusers reckons it."""
    levels: int = len(vae.config.block_out_channels)
    return 1 << (levels - 1)


def _text_model(shape: dict[str, Any], words: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        **shape,
        vocab_size=len(words),
        max_position_embeddings=words.model_max_length,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return CLIPTextModel(config)


def _unet(shape: dict[str, Any], channels: int, width: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(**shape, in_channels=channels, out_channels=channels, cross_attention_dim=width)


def _check(parts: Components, data: DataSettings) -> None:
    """Refuse parts that do not fit each other or the images."""
    unet, vae, text = parts.unet.config, parts.vae.config, parts.text_encoder.config
    if unet.in_channels != vae.latent_channels or unet.out_channels != vae.latent_channels:
        raise UserError(
            f"the UNet takes {unet.in_channels} and makes {unet.out_channels} channels, "
            f"but the autoencoder's latents have {vae.latent_channels}",
            code="bad-model",
            where="base, autoencoder",
            fix="set autoencoder: base, and take a base that makes images from text alone (not inpainting)",
        )
    if vae.in_channels != 3 or vae.out_channels != 3:
        raise UserError(
            f"the autoencoder has {vae.in_channels} colour channels",
            code="bad-model",
            where="autoencoder",
            fix="take one with 3 (grey is repeated)",
        )
    if unet.cross_attention_dim != text.hidden_size:
        raise UserError(
            f"the UNet attends to {unet.cross_attention_dim} features, but the text encoder makes {text.hidden_size}",
            code="bad-model",
            where="base",
        )
    if unet.class_embed_type is not None or unet.addition_embed_type is not None:
        raise UserError(
            "its UNet wants more than text and a timestep",
            code="bad-model",
            where="base",
            fix="take Stable Diffusion 1.x or 2.x",
        )
    if len(parts.tokenizer) > text.vocab_size:
        raise UserError(
            f"the tokenizer has {len(parts.tokenizer)} tokens, the text encoder {text.vocab_size}",
            code="bad-model",
            where="base",
        )
    multiple = vae_factor(parts.vae) << (len(unet.block_out_channels) - 1)
    if data.size % multiple:
        raise UserError(
            f"the UNet and the autoencoder halve an image down to 1/{multiple}",
            code="bad-model",
            where=f"data.size = {data.size}",
            fix=f"set data.size to a multiple of {multiple}",
        )
