"""A variational autoencoder of generated pictures (arXiv 1312.6114): its latents are the manifold that a student is steady on.

It learns from a generator's pictures alone, as many as it takes steps, and so costs nothing more than the generator did:

    L = |x - D(z)|^2 / (2 v) + KL(N(m, s) | N(0, 1)),     z = m + s e

The variance v and the networks' shapes are ours; the paper gives neither.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pd.classifier.generated import Generator, latents, load_generator
from pd.config import digest_of
from pd.config.classifier import ClassifierSettings
from pd.seeds import derive
from pd.training.ranks import share_of
from pd.training.task import Batch, Facts, Ranks, Task

WEIGHTS = "vae.safetensors"
VARIANCE = 0.05  # of a pixel in [-1, 1]; ours


class Vae(nn.Module):
    """Pictures (n, C, H, W) to latents (n, d) and back."""

    def __init__(self, latent: int, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        groups = max(1, width // 8)
        self.encoder = nn.Sequential(
            nn.Conv2d(shape[0], width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.GroupNorm(groups, width),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(width * (shape[1] // 4) ** 2, 2 * latent),
        )
        self.decoder = Generator(latent, shape, width)

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances, (n, d) each."""
        mean, log_variance = self.encoder(pictures).chunk(2, dim=1)
        return mean, log_variance.clamp(-10.0, 10.0)

    def forward(self, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures again, and (n,) divergences from the prior."""
        mean, log_variance = self.encode(pictures)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)
        again: Tensor = self.decoder(mean + (0.5 * log_variance).exp() * noise)
        return again, divergence


class VaeTask(Task):
    """Trains the autoencoder on a generator's pictures, new ones at each step.

    Args:
        settings: of the section `classifier`.
        shape: (C, H, W).
        generator: its folder; None: an untrained one.
        seed: of weights, pictures and noise.
        key: names the generator.
    """

    def __init__(
        self, settings: ClassifierSettings, shape: tuple[int, ...], generator: Path | None, seed: int, key: str
    ) -> None:
        self.settings, self.shape, self.generator, self.seed = settings, shape, generator, seed
        told = [settings.latent, settings.width, settings.batch, settings.generator.model_dump(mode="json")]
        self.key = digest_of(["vae", key, list(shape), seed, *told])

    def build(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "vae"))
            vae = Vae(self.settings.latent, self.shape, self.settings.width)
        return nn.ModuleDict({"vae": vae, "generator": load_generator(self.generator, self.settings, self.shape, self.seed)})

    def batch(self, step: int, rank: int, world: int) -> Batch:
        how = self.settings
        mine = share_of(how.batch, rank, world)
        drawn = latents(2 * how.batch, how.latent, self.seed, step)
        return {"latents": drawn[: how.batch][mine], "noise": drawn[how.batch :][mine]}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        assert isinstance(module, nn.ModuleDict)
        with torch.no_grad():
            pictures = module["generator"](batch["latents"])
        again, divergence = module["vae"](pictures, batch["noise"])
        error = (again - pictures).square().flatten(1).sum(dim=1) / (2.0 * VARIANCE)
        share = len(pictures) * ranks.world / self.settings.batch  # a rank may have a row more than another
        return {"loss": share * (error + divergence).mean() / float(np.prod(self.shape)), "kl": divergence.detach().mean()}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        assert isinstance(module, nn.ModuleDict)
        save_file({name: value.contiguous().cpu() for name, value in module["vae"].state_dict().items()}, folder / WEIGHTS)
        return {}


def load_vae(folder: Path | None, settings: ClassifierSettings, shape: tuple[int, ...], seed: int = 0) -> Vae:
    """What a `VaeTask` wrote, to be looked at only; without a folder an untrained one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "vae"))
        vae = Vae(settings.latent, shape, settings.width)
    if folder is not None:
        vae.load_state_dict(load_file(folder / WEIGHTS))
    return vae.eval().requires_grad_(False)


def neighbours(vae: Vae, pictures: Tensor, direction: Tensor, length: float) -> Tensor:
    """Differences (n, C, H, W) that a random step of this length in the latent makes: D(m + l d / |d|) - D(m)."""
    with torch.no_grad():
        mean, _ = vae.encode(pictures)
        step = length * direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-12)
        moved: Tensor = vae.decoder(mean + step) - vae.decoder(mean)
    return moved
