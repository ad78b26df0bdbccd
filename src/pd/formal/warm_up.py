"""Training on what is public or noisy already: warm-up on released Gaussians, public pictures, samples of a private teacher."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pd.config import DataSettings, ModelSettings
from pd.diffusion import export
from pd.diffusion.adapter import merge
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import Components, build
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.randomness import Purpose, stream
from pd.formal.moments import Moments
from pd.training.task import Batch, Facts, Ranks, Task


@dataclass(frozen=True)
class Latents:
    """Latents that may be learned from freely, with the row of each one's caption."""

    latents: Tensor
    captions: Tensor


class FreeDenoising(Task):
    """An ordinary denoising training on released Gaussians, or on latents: nothing private can be handed to it.

    Args:
        key: names the training.
        model: how it is built.
        shape: size and mode of the images.
        seed: of weights and draws.
        captions: C texts.
        source: what is learned from; Gaussians give new samples each step.
        start: a diffusers folder to start from; None: as `model` says.
    """

    def __init__(
        self,
        key: str,
        model: ModelSettings,
        shape: DataSettings,
        seed: int,
        captions: list[str],
        source: Moments | Latents,
        start: Path | None = None,
    ) -> None:
        self.key, self.seed = key, seed
        self._model, self._shape, self._captions, self._source, self._start = model, shape, captions, source, start
        self._parts: Components | None = None

    def build(self) -> nn.Module:
        self._parts = export.load(self._start) if self._start else build(self._model, self._shape, self.seed)
        self._table = CaptionTable(self._parts.tokenizer, self._captions, truncate=True)
        self._all = self._table.tokens
        if not self._model.trains_text_encoder:  # then the denoiser wants embeddings
            self._all = embed(self._parts.text_encoder, self._all)
        return _Loss(Denoiser(self._parts, self._model))

    def batch(self, step: int, rank: int, world: int) -> Batch:
        assert self._parts is not None
        rng = stream(self.seed, Purpose.STEP, step)
        size, shape = self._model.batch, self._parts.latent_shape
        times = torch.from_numpy(rng.integers(0, len(self._parts.scheduler.alphas_cumprod), size))
        noise = torch.from_numpy(rng.standard_normal((size, *shape), dtype=np.float32))
        drop = torch.from_numpy(rng.random(size) < self._model.caption_dropout)
        if isinstance(self._source, Moments):
            share = self._source.weights / self._source.weights.sum()
            captions = rng.choice(len(share), size, p=share)
            latents = torch.from_numpy(self._source.sample(captions, int(rng.integers(2**62)))).view(size, *shape)
        else:
            rows = torch.from_numpy(rng.integers(0, len(self._source.latents), size))
            latents, captions = self._source.latents[rows], self._source.captions[rows].numpy()
        words = self._table.rows[torch.as_tensor(captions)].masked_fill(drop, 0)
        whole = {"latents": latents, "noise": noise, "times": times, "words": words}
        return {name: value[rank::world] for name, value in whole.items()}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        distinct, rows = torch.unique(batch["words"], return_inverse=True)
        text = self._all.to(rows.device)[distinct]
        return {"loss": module(batch["latents"], batch["noise"], batch["times"], text, rows)}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        """The averaged weights come in `module`, whose parts are those of a copy of the components."""
        assert isinstance(module, _Loss)
        assert self._parts is not None
        plain = module.denoiser
        self._parts.unet.load_state_dict(plain.unet.state_dict())
        if plain.text_encoder is not None:
            self._parts.text_encoder.load_state_dict(plain.text_encoder.state_dict())
        merge(self._parts.unet)
        merge(self._parts.text_encoder)
        export.export(self._parts, folder / "model")
        return {}


class _Loss(nn.Module):
    """The denoiser's loss as a module of its own, whose averaged copy keeps its parts."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, latents: Tensor, noise: Tensor, times: Tensor, text: Tensor, rows: Tensor) -> Tensor:
        return self.denoiser(latents, noise, times, text, rows)  # type: ignore[no-any-return]


def save_latents(latents: Latents, path: Path) -> None:
    """Write latents that may be learned from."""
    save_file({"latents": latents.latents.contiguous(), "captions": latents.captions}, path)


def load_latents(path: Path) -> Latents:
    """What `save_latents` wrote."""
    held = load_file(path)
    return Latents(held["latents"], held["captions"])
