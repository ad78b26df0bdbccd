"""Who teaches a recogniser: a network trained here, a run's, a public one, or somebody's ONNX file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pd.dataset.images import Pixels, mirrored, to_tensor
from pd.errors import UserError
from pd.reid.backbones import build_backbone
from pd.reid.embed import embed
from pd.reid.network import load
from pd.reid.onnx_network import OnnxNetwork
from pd.reid.rows import Rows
from pd.reid.spaces.whitening import unit
from pd.store.files import digest_file

WHERE = "reid.teacher"
CLASSES = "classes"
"""As `reid.teacher`: a network that is trained first by cross-entropy, on clear pictures of the same people."""
_BATCH = 256


@dataclass(frozen=True)
class Teacher:
    """Something that embeds pictures.

    Attributes:
        name: for the lineage: its kind and its last name, no folder of this machine.
        embed: (N, H, W, C) uint8 -> (N, e) unit rows.
    """

    name: str
    embed: Callable[[Pixels], NDArray[np.float32]]

    def targets(self, rows: Rows) -> NDArray[np.float32]:
        """(N, e) unit rows of all pictures, each the mean of it and its mirror image."""
        parts = []
        for at in range(0, rows.shape[0], _BATCH):
            pixels = rows.take(np.arange(at, min(at + _BATCH, rows.shape[0])))
            parts.append(unit(self.embed(pixels) + self.embed(mirrored(pixels))))
        return np.concatenate(parts)


def open_teacher(spec: str) -> Teacher:
    """A teacher from outside, by what `reid.teacher` says.

    Raises:
        UserError: it is not there, or cannot be read.
    """
    kind, found, where = spec.partition(":")
    if found and kind == "onnx":
        network = OnnxNetwork(Path(where), WHERE)
        return Teacher(network.name, network.embed)
    if found and kind == "open_clip":
        return _open_clip(where)
    return trained(_folder(Path(spec)), f"run:{Path(spec).resolve().name}")


def origin(spec: str) -> dict[str, str]:
    """A teacher from outside, for a lineage: its kind and last name, and the SHA-256 of its file; no folder of this machine."""
    if spec == CLASSES:
        return {"name": "trained on the same people, by cross-entropy"}
    kind, found, where = spec.partition(":")
    if found and kind == "open_clip":
        architecture, _, weights = where.partition("/")
        file, name = Path(weights), f"open_clip:{architecture}/{Path(weights).name}"
    elif found and kind == "onnx":
        file, name = Path(where), f"onnx:{Path(where).name}"
    else:
        file, name = _folder(Path(spec)) / "model.safetensors", f"run:{Path(spec).resolve().name}"
    return {"name": name} | ({"sha256": digest_file(file)} if file.is_file() else {})


def trained(folder: Path, name: str) -> Teacher:
    """A network as `pd reid` or a training writes it."""
    network = load(folder)
    return Teacher(name, lambda pixels: embed(network, pixels))


def _folder(path: Path) -> Path:
    for folder in (path, path / "private" / "reid"):
        if (folder / "config.json").is_file():
            return folder
    fix = "name a run, a folder with config.json and model.safetensors, onnx:FILE or open_clip:NAME/WEIGHTS"
    raise UserError(f"no recogniser at '{path}'", code="missing-weights", where=WHERE, fix=fix)


def _open_clip(where: str) -> Teacher:
    architecture, _, weights = where.partition("/")
    if not weights:
        fix = f"pd downloads none: write open_clip:{architecture}/FILE.safetensors"
        raise UserError(f"'open_clip:{architecture}' names no weights", code="bad-value", where=WHERE, fix=fix)
    module, _ = build_backbone(f"open_clip:{architecture}", weights)
    module.eval()

    @torch.inference_mode()
    def rows(pixels: Pixels) -> NDArray[np.float32]:
        parts = [module(to_tensor(pixels[at : at + 64])).float().numpy() for at in range(0, len(pixels), 64)]
        return unit(np.concatenate(parts))

    return Teacher(f"open_clip:{architecture}/{Path(weights).name}", rows)
