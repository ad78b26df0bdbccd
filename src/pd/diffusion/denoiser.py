"""What the engine trains: the networks with gradients, and a forward that returns the loss."""

import torch
from torch import Tensor, nn

from pd.config import ModelSettings
from pd.diffusion.adapter import choose_trained
from pd.diffusion.components import Components
from pd.diffusion.cpu.training_unet import quicken
from pd.diffusion.objective import add_noise, loss
from pd.diffusion.schedule import alphas


class Denoiser(nn.Module):
    """The UNet, the text encoder where it is trained, and the objective.

    What is trained are the parameters with `requires_grad`, at least one; the others are the base's and stay as they are.

    Args:
        components: the model; its UNet (and text encoder) are trained in place.
        settings: prediction, min_snr_gamma, gradient_checkpointing, and what is trained.

    Attributes:
        shares_text: whether the UNet is given each distinct caption once. How many there are differs from step to step, so
            whoever compiles the UNet for fixed shapes sets this to False.
    """

    def __init__(self, components: Components, settings: ModelSettings) -> None:
        super().__init__()
        self.unet = components.unet.train()
        choose_trained(self.unet, settings.unet_training)
        self.text_encoder: nn.Module | None = None
        if settings.trains_text_encoder:
            self.text_encoder = components.text_encoder.train()
            choose_trained(self.text_encoder, settings.text_encoder_training)
        self.shares_text = quicken(self.unet)
        if settings.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
            if self.text_encoder is not None:
                components.text_encoder.gradient_checkpointing_enable()
        self._latent_shape, self._text_length = components.latent_shape, int(components.tokenizer.model_max_length)
        self.prediction, self.gamma = settings.prediction, settings.min_snr_gamma
        # No buffer: DeepSpeed turns buffers to bfloat16, in which 1 - abar loses the first timesteps.
        self._alphas = alphas(components.scheduler)

    def forward(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, text: Tensor, rows: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """The objective, a float32 scalar: the mean over rows, so that equal micro-batches average to their batch's.

        Args:
            latents: (B, c, h, w) float32, scaled (mirrored where the batch says so).
            noise: (B, c, h, w) float32.
            timesteps: (B,) int64.
            text: tokens (u, L) int64 when the text encoder is trained, else its embeddings (u, L, d).
            rows: (B,) int64, each image's row in `text`.
            weights: (B,) float32, times which each image counts; None: once.
        """
        table = self._alphas.to(latents.device)
        embeddings = text if self.text_encoder is None else self.text_encoder(text)[0]
        noisy = add_noise(latents, noise, timesteps, table)
        dtype = self.unet.dtype
        if self.shares_text:
            predicted = self.unet(
                noisy.to(dtype), timesteps, embeddings.to(dtype), cross_attention_kwargs={"rows": rows}
            ).sample
        else:
            predicted = self.unet(noisy.to(dtype), timesteps, embeddings[rows].to(dtype)).sample
        return loss(
            predicted,
            latents,
            noise,
            timesteps,
            alphas=table,
            prediction=self.prediction,
            gamma=self.gamma,
            weights=weights,
        )

    def blank(self, rows: int, device: torch.device) -> tuple[Tensor, ...]:
        """Arguments of `forward` for so many rows, all zero, no caption shared: no batch of this length takes more memory."""
        latents = torch.zeros(rows, *self._latent_shape, device=device)
        count = torch.arange(rows, device=device)
        if self.text_encoder is not None:
            text = torch.zeros(rows, self._text_length, dtype=torch.int64, device=device)
        else:
            text = torch.zeros(rows, self._text_length, self.unet.config.cross_attention_dim, device=device)
        return latents, latents, torch.zeros_like(count), text, count
