"""What the engine trains: the networks with gradients, and a forward that returns the loss."""

from torch import Tensor, nn

from pd.config import ModelSettings
from pd.diffusion.components import Components
from pd.diffusion.objective import add_noise, loss
from pd.diffusion.schedule import alphas


class Denoiser(nn.Module):
    """The UNet, the text encoder where it is trained, and the objective. Every parameter it has is trained.

    Args:
        components: the model; its UNet (and text encoder) are trained in place.
        settings: prediction, min_snr_gamma, train_text_encoder.
    """

    def __init__(self, components: Components, settings: ModelSettings) -> None:
        super().__init__()
        self.unet = components.unet.train().requires_grad_(True)
        self.text_encoder: nn.Module | None = None
        if settings.train_text_encoder:
            self.text_encoder = components.text_encoder.train().requires_grad_(True)
        self.prediction, self.gamma = settings.prediction, settings.min_snr_gamma
        # No buffer: DeepSpeed turns buffers to bfloat16, in which 1 - abar loses the first timesteps.
        self._alphas = alphas(components.scheduler)

    def forward(self, latents: Tensor, noise: Tensor, timesteps: Tensor, text: Tensor, rows: Tensor) -> Tensor:
        """The objective, a float32 scalar: the mean over rows, so that equal micro-batches average to their batch's.

        Args:
            latents: (B, c, h, w) float32, scaled (mirrored where the batch says so).
            noise: (B, c, h, w) float32.
            timesteps: (B,) int64.
            text: tokens (u, L) int64 when the text encoder is trained, else its embeddings (u, L, d).
            rows: (B,) int64, each image's row in `text`.
        """
        table = self._alphas.to(latents.device)
        embeddings = text if self.text_encoder is None else self.text_encoder(text)[0]
        noisy = add_noise(latents, noise, timesteps, table)
        dtype = self.unet.dtype
        predicted = self.unet(noisy.to(dtype), timesteps, embeddings[rows].to(dtype)).sample
        return loss(predicted, latents, noise, timesteps, alphas=table, prediction=self.prediction, gamma=self.gamma)
