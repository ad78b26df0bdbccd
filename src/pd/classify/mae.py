"""Masked autoencoder: a vision transformer learns to see from images alone, before it is told any label.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (arXiv 2111.06377): three quarters of the patches are left out,
the encoder sees the others, and a small decoder paints what is missing; the loss is the mean squared error of the missing
patches, each brought to mean 0 and deviation 1. The decoder is two blocks of half the encoder's width (the paper's:
eight of 512), ours.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pd.classify import views
from pd.classify.fine_tune import stream_rows
from pd.classify.inputs import Inputs, shape, share_of, tensor
from pd.classify.vit import Vit, build_vit
from pd.config import digest_of
from pd.config.semi_vit import SemiVitSettings
from pd.seeds import derive
from pd.store.files import digest_file
from pd.training.task import Batch, Facts, Ranks, Task

DECODER_BLOCKS = 2  # ours
_EPSILON = 1e-6


class Mae(nn.Module):
    """An encoder and a decoder.

    Args:
        encoder: a transformer; its last layer is not used.
    """

    def __init__(self, encoder: Vit) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        vit = encoder.vit
        width, patch, channels = vit.embed_dim, vit.patch_embed.patch_size[0], encoder.shift.shape[1]
        heads = max(1, vit.blocks[0].attn.num_heads // 2)
        inner = max(heads, width // 2 // heads * heads)
        self.encoder, self.patch = encoder, patch
        self.encoder.vit.head.requires_grad_(False)
        self.narrow = nn.Linear(width, inner)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, inner))
        self.positions = nn.Parameter(0.02 * torch.randn(1, vit.patch_embed.num_patches, inner))
        self.blocks = nn.Sequential(*[Block(inner, heads) for _ in range(DECODER_BLOCKS)])
        self.norm = nn.LayerNorm(inner)
        self.paint = nn.Linear(inner, patch * patch * channels)

    def forward(self, images: Tensor, order: Tensor, kept: int) -> Tensor:
        """The loss of a batch.

        Args:
            images: (n, C, S, S) in [-1, 1].
            order: (n, patches) int64, a permutation a row; its first `kept` are seen.
            kept: how many.
        """
        vit = self.encoder.vit
        normed = self.encoder.normed(images)
        tokens = vit._pos_embed(vit.patch_embed(normed))
        before = tokens.shape[1] - order.shape[1]  # tokens that are of no patch
        seen, hidden = order[:, :kept], order[:, kept:]
        chosen = tokens[:, before:].gather(1, seen[:, :, None].expand(-1, -1, tokens.shape[2]))
        coded = self.narrow(vit.norm(vit.blocks(vit.norm_pre(torch.cat([tokens[:, :before], chosen], 1)))))[:, before:]
        whole = torch.cat([coded, self.mask_token.to(coded.dtype).expand(len(images), hidden.shape[1], -1)], 1)
        back = order.argsort(1)[:, :, None].expand(-1, -1, whole.shape[2])
        painted = self.paint(self.norm(self.blocks(whole.gather(1, back) + self.positions)))
        truth = patches(normed, self.patch)
        spread = truth.var(2, keepdim=True, correction=min(1, truth.shape[2] - 1))  # of one value: 0
        truth = (truth - truth.mean(2, keepdim=True)) / (spread + _EPSILON).sqrt()
        error = (painted.float() - truth).square().mean(2)
        loss: Tensor = error.gather(1, hidden).mean()
        return loss


def patches(images: Tensor, side: int) -> Tensor:
    """(n, C, S, S) -> (n, patches, side * side * C), row by row."""
    n, channels, size, _ = images.shape
    cut = images.reshape(n, channels, size // side, side, size // side, side)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(n, (size // side) ** 2, -1)


class MaeTask(Task):
    """Trains a `Mae` on weak views of images.

    Args:
        inputs: N images; no label of theirs is read.
        settings: network, batch and ratio (a step has as many images as a step of Semi-ViT), mask.
        seed: weights and batches follow from it.
        digest: of the inputs' content, for `key`.
    """

    def __init__(self, inputs: Inputs, settings: SemiVitSettings, *, seed: int, digest: str = "") -> None:
        self.inputs, self.settings, self.seed = inputs, settings, seed
        self.size = settings.batch * settings.ratio
        path = settings.network.weights
        used = settings.model_dump(mode="json", include={"network", "flip", "mae_mask", "mae_steps"})
        begins = digest_file(Path(str(path))) if path else ""
        self.key = digest_of(["mae", digest, used, self.size, seed, begins])

    def build(self) -> nn.Module:
        # One output that is not used: the encoder is the same however many classes there are.
        encoder = build_vit(self.settings.network, shape(self.inputs), 1, derive(self.seed, "vit"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "decoder"))
            return Mae(encoder)

    def batch(self, step: int, rank: int, world: int) -> Batch:
        import numpy as np

        rows = stream_rows(derive(self.seed, "mae"), step, len(self.inputs), self.size)
        own = share_of(np.arange(self.size), rank, world)
        count = (shape(self.inputs)[1] // self.patch) ** 2
        generator = torch.Generator().manual_seed(derive(self.seed, "masks", step))
        return {
            "images": tensor(self.inputs, rows[own]),
            "numbers": views.draw(derive(self.seed, "mae views", step), self.size)[own],
            "order": torch.rand(self.size, count, generator=generator).argsort(1)[own],
        }

    @property
    def patch(self) -> int:
        """Pixels of a patch's side."""
        of = shape(self.inputs)
        settings = self.settings.network.patched(of[1])
        if settings.name == "tiny":
            assert settings.patch is not None
            return settings.patch
        found: int = build_vit(settings, of, 1, 0, weights=False).vit.patch_embed.patch_size[0]
        return found

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        order = batch["order"]
        kept = max(1, round((1 - self.settings.mae_mask) * order.shape[1]))
        seen = views.weak(batch["images"], batch["numbers"], flip=self.settings.flip)
        return {"loss": module(seen, order, min(kept, order.shape[1] - 1))}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        """The encoder, as `FineTuneTask` starts from."""
        assert isinstance(module, Mae)
        state = {name: value.contiguous().cpu() for name, value in module.encoder.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        config = {"vit": self.settings.network.patched(shape(self.inputs)[1]).model_dump(mode="json", exclude={"weights"})}
        (folder / "config.json").write_text(json.dumps(config) + "\n", encoding="utf-8")
        return {}
