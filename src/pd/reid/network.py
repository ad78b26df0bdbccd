"""The re-identification network: images to unit vectors (methods, step 3)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pd.config import ReidSettings
from pd.errors import UserError
from pd.reid.backbones import build_backbone


class EmbeddingNetwork(nn.Module):
    """A backbone and a projection to unit vectors.

    Args:
        backbone: (N, 3, H, W) in [-1, 1] -> (N, features).
        features: width of what the backbone gives.
        dim: width d of the embedding.
        name: the backbone's name in the settings, so that `load` can build it again.
        freeze: train the projection only; the backbone then stays as in evaluation, statistics of its norms included.
    """

    def __init__(self, backbone: nn.Module, features: int, dim: int, *, name: str, freeze: bool = False) -> None:
        super().__init__()
        self.backbone, self.name, self.dim, self.freeze = backbone, name, dim, freeze
        self.project = nn.Linear(features, dim, bias=False)
        if freeze:
            backbone.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [-1, 1] -> (N, d) float32, rows of unit length."""
        return F.normalize(self.project(self.backbone(images)).float(), dim=1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.freeze:
            self.backbone.eval()
        return self


def build(settings: ReidSettings, seed: int = 0) -> EmbeddingNetwork:
    """A network as the settings say, its new weights drawn from `seed` and from nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone, features = build_backbone(settings.backbone, settings.weights)
        return EmbeddingNetwork(backbone, features, settings.dim, name=settings.backbone, freeze=settings.freeze)


def save(network: EmbeddingNetwork, folder: Path) -> None:
    """Write `model.safetensors` and `config.json` into `folder`, which is made if need be."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous().cpu() for key, value in network.state_dict().items()}, folder / "model.safetensors")
    config = {"backbone": network.name, "dim": network.dim, "freeze": network.freeze}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_all(networks: Sequence[EmbeddingNetwork], folder: Path) -> None:
    """Write the first network into `folder` as `save` does, and every further one below it."""
    for k, network in enumerate(networks):
        save(network, folder / f"voter-{k + 1:03d}" if k else folder)


def network_folders(folder: Path) -> list[Path]:
    """Where `save_all` put its networks, in their order."""
    return [folder, *sorted(folder.glob("voter-*"))]


def load(folder: Path) -> EmbeddingNetwork:
    """What `save` wrote, on the CPU and in evaluation mode; no pretrained weights are fetched.

    Raises:
        UserError: a file is missing or damaged, or the weights do not fit the configuration.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        state = load_file(folder / "model.safetensors")
        network = build(ReidSettings(backbone=config["backbone"], dim=config["dim"], freeze=config["freeze"]))
        network.load_state_dict(state)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"no whole re-identification network ({type(error).__name__})",
            code="unreadable-file",
            where=str(folder),
            fix="train it again: pd reid",
        ) from None
    return network.eval()
