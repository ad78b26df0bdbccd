"""Queries of a data-free generator (DAFL, arXiv 1904.01186; in arXiv 2409.02404 the generative stream).

A generator G learns against a frozen judge f, of which it sees logits y, features t and nothing else: for x = G(z)

    L = a CE(y, argmax y) - b mean |t| - c H(mean softmax y),     a = 1, b = 0.1, c = 5

that is, pictures of which the judge is sure, that excite it, of all classes alike often. What the judge is decides what this
costs: the student, or a classifier by DP-SGD, have been paid for (`sound`); a classifier of all private data has not (`paper`).
The networks' shapes are ours.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from pd.classify.networks import build
from pd.classify.task import load_classifier
from pd.config import digest_of
from pd.config.classifier import ClassifierSettings
from pd.dataset.images import Pixels
from pd.seeds import derive
from pd.training.ranks import share_of, shares
from pd.training.task import Batch, Facts, Ranks, Task

WEIGHTS = "generator.safetensors"
_SAMPLED = 256  # pictures of a forward when nothing is learned


class Generator(nn.Module):
    """Latents (n, d) to pictures (n, C, H, W) in [-1, 1], by two doublings."""

    def __init__(self, latent: int, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels, side = shape[0], shape[1]
        self.first, self.latent = (width, side // 4, side // 4), latent
        groups = max(1, width // 8)
        self.start = nn.Linear(latent, width * (side // 4) ** 2)
        self.layers = nn.Sequential(
            nn.GroupNorm(groups, width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(groups, width),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(groups, width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Pictures."""
        pictures: Tensor = self.layers(self.start(latents).view(-1, *self.first))
        return pictures


class GeneratorTask(Task):
    """Trains a generator against a judge.

    Args:
        settings: of the section `classifier`.
        shape: (C, H, W).
        classes: of the judge.
        judge: a classifier's folder; None: a network that has learned nothing, drawn from the seed.
        seed: of weights and latents.
        key: names what the judge learned from.
    """

    watch = "no"

    def __init__(
        self, settings: ClassifierSettings, shape: tuple[int, ...], classes: int, judge: Path | None, seed: int, key: str
    ) -> None:
        self.settings, self.shape, self.classes, self.judge, self.seed = settings, shape, classes, judge, seed
        told = [settings.one_hot, settings.activation, settings.entropy, settings.latent, settings.width, settings.batch]
        self.key = digest_of(["generator", key, list(shape), classes, seed, settings.generator.model_dump(mode="json"), *told])

    def build(self) -> nn.Module:
        judge = load_classifier(self.judge) if self.judge else fresh(self.shape, self.classes, self.seed, self.settings.width)
        return nn.ModuleDict(
            {"generator": new_generator(self.settings, self.shape, self.seed), "judge": judge.requires_grad_(False)}
        )

    def batch(self, step: int, rank: int, world: int) -> Batch:
        return {
            "latents": latents(self.settings.batch, self.settings.latent, self.seed, step)[
                share_of(self.settings.batch, rank, world)
            ]
        }

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        assert isinstance(module, nn.ModuleDict)
        judge = module["judge"]
        features = judge.embed(module["generator"](batch["latents"]))  # type: ignore[operator]
        logits = judge.head(features)  # type: ignore[operator]
        sure = functional.cross_entropy(logits, logits.argmax(dim=1))
        how = self.settings
        mean = ranks.gather(logits.softmax(dim=1), shares(how.batch, ranks.world)).mean(dim=0)
        spread = -(mean * mean.clamp(min=1e-12).log()).sum()
        share = len(features) * ranks.world / how.batch  # a rank may have a row more than another
        total = share * (how.one_hot * sure - how.activation * features.abs().mean()) - how.entropy * spread
        return {"loss": total, "one_hot": sure.detach(), "entropy": spread.detach()}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        assert isinstance(module, nn.ModuleDict)
        weights = {name: value.contiguous().cpu() for name, value in module["generator"].state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        return {}


def fresh(shape: tuple[int, ...], classes: int, seed: int, width: int) -> nn.Module:
    """A classifier that has learned nothing."""
    return build(shape, classes, derive(seed, "fresh judge"), width).eval()


def new_generator(settings: ClassifierSettings, shape: tuple[int, ...], seed: int) -> Generator:
    """An untrained generator, its weights drawn from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "generator"))
        return Generator(settings.latent, shape, settings.width)


def load_generator(folder: Path | None, settings: ClassifierSettings, shape: tuple[int, ...], seed: int = 0) -> Generator:
    """What a `GeneratorTask` wrote, to be looked at only; without a folder an untrained one."""
    generator = new_generator(settings, shape, seed)
    if folder is not None:
        generator.load_state_dict(load_file(folder / WEIGHTS))
    return generator.eval().requires_grad_(False)


def latents(count: int, size: int, seed: int, step: int) -> Tensor:
    """(count, size) standard normal numbers of a step."""
    drawn = np.random.default_rng([seed, step]).standard_normal((count, size), dtype=np.float32)
    return torch.from_numpy(drawn)


@torch.no_grad()
def sample(generator: Generator, count: int, seed: int) -> Pixels:
    """(count, H, W, C) uint8, a function of weights and seed."""
    found: list[npt.NDArray[np.uint8]] = []
    every = latents(count, generator.latent, derive(seed, "queries"), 0)
    for start in range(0, count, _SAMPLED):
        part = every[start : start + _SAMPLED]
        pictures = ((generator(part) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        found.append(pictures.permute(0, 2, 3, 1).contiguous().numpy())
    return np.concatenate(found)
