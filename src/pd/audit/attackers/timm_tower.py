"""Networks of timm's, with weights on this machine: safetensors, never a pickle, never fetched."""

import difflib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pd.audit.weights import file_in, fill, read_state
from pd.dataset.images import to_tensor
from pd.dataset.parquet_images import Images
from pd.errors import UserError
from pd.reid.spaces.whitening import Rows

_BATCH = 64
_HUB_FILE = "model.safetensors"


class TimmFeatures:
    """`timm:ARCHITECTURE/WEIGHTS`: what a network of timm's sees before its classifier.

    Args:
        name: WEIGHTS is a safetensors file or a folder that holds one; without, those in the Hugging Face cache already.
        where: the setting that named it, for errors.

    Raises:
        UserError: timm is not installed, has no such architecture, or the weights are not on this machine or do not fit.
    """

    def __init__(self, name: str, where: str) -> None:
        try:
            timm: Any = import_module("timm")
        except ImportError:
            raise UserError(
                f"'{name}' needs timm, which is not installed", code="missing-package", where=where, fix="pip install timm"
            ) from None
        architecture, _, weights = name.removeprefix("timm:").partition("/")
        if not timm.is_model(architecture):
            near = difflib.get_close_matches(architecture.split(".")[0], timm.list_models(), n=1, cutoff=0.0)[0]
            raise UserError(
                f"timm has no architecture '{architecture}'", code="unknown-name", where=where, fix=f"did you mean '{near}'?"
            )
        model = timm.create_model(architecture, pretrained=False, num_classes=0)
        path = file_in(Path(weights), where) if weights else _cached(architecture, model.pretrained_cfg, where)
        heads = model.pretrained_cfg.get("classifier") or ()
        classifiers = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
        state = {key: value for key, value in read_state(path, where).items() if not key.startswith(classifiers or ("\0",))}
        fill(model, state, path, where)
        how = timm.data.resolve_model_data_config(model)
        self.name = f"timm:{architecture}" + (f"/{path.name}" if weights else "")
        self._size, self._channels = tuple(how["input_size"][1:]), how["input_size"][0]
        self._mean, self._std = (torch.tensor(how[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: Any = model.eval().to(self._device)

    @torch.inference_mode()
    def tensors(self, images: Tensor) -> Rows:
        """(N, d) rows of (N, 3, H, W) float32 in [-1, 1]."""
        rows = []
        for batch in torch.split(images, _BATCH):
            resized = F.interpolate(batch, size=self._size, mode="bicubic", antialias=True).clamp(-1, 1)
            shown = resized.mean(1, keepdim=True) if self._channels == 1 else resized
            ready = ((shown + 1) / 2 - self._mean) / self._std
            rows.append(self._model(ready.to(self._device)).flatten(1).float().cpu().numpy())
        return np.concatenate(rows)

    def images(self, images: Images) -> Rows:
        """(N, d) rows of (N, H, W, C) uint8."""
        return np.concatenate([self.tensors(to_tensor(images[at : at + _BATCH])) for at in range(0, len(images), _BATCH)])


def _cached(architecture: str, config: Any, where: str) -> Path:
    """The weights in the Hugging Face cache."""
    from huggingface_hub import try_to_load_from_cache

    tag = config.get("tag") or ""
    hub = config.get("hf_hub_id") or ""
    repository = (
        f"{hub}{architecture if '.' in architecture or not tag else f'{architecture}.{tag}'}" if hub == "timm/" else hub
    )
    found = try_to_load_from_cache(repository, _HUB_FILE) if repository else None
    if not isinstance(found, str):
        fix = f"write timm:{architecture}/FILE.safetensors" + (
            f", or fetch them with `hf download {repository} {_HUB_FILE}`; pd does not" if repository else ""
        )
        raise UserError(
            f"the weights of timm's {architecture} are not on this machine", code="missing-weights", where=where, fix=fix
        )
    return Path(found)
