"""An open_clip model that looks at images and reads prompts; its weights are on this machine, or there is no model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pd.audit.weights import file_in, fill, read_state
from pd.dataset.images import to_tensor
from pd.dataset.parquet_images import Images
from pd.errors import UserError

_PREFIX = "open_clip:"
_HUB_FILE = "open_clip_model.safetensors"
_BATCH = 64


class Clip:
    """A model named `open_clip:ARCHITECTURE/WEIGHTS`.

    Args:
        name: WEIGHTS is a pretrained tag whose safetensors are in the Hugging Face cache already, or a local safetensors file,
            or a folder that holds one.
        where: the setting that named it, for errors.
        towers: `both`, or the `image` tower alone, for which a file of its weights is enough.

    Raises:
        UserError: no such architecture, or its weights are not on this machine.
    """

    def __init__(self, name: str, where: str, towers: str = "both") -> None:
        import open_clip

        architecture, _, weights = name.removeprefix(_PREFIX).partition("/")
        if architecture not in open_clip.list_models():
            raise UserError(
                f"open_clip has no architecture '{architecture}'", code="unknown-name", where=where, fix=_names(architecture)
            )
        path = _weights(architecture, weights, where)
        model = open_clip.create_model(architecture, pretrained=None)
        state = read_state(path, where)
        if towers == "both" or any(not key.startswith("visual.") for key in state):
            fill(model, state, path, where)
        else:
            fill(model.visual, {key.removeprefix("visual."): value for key, value in state.items()}, path, where)
        self.name = f"{_PREFIX}{architecture}/{Path(weights).name}"
        how = open_clip.get_model_preprocess_cfg(model)
        self._size = (how["size"], how["size"]) if isinstance(how["size"], int) else tuple(how["size"])
        self._mean, self._std = (torch.tensor(how[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: Any = model.eval().to(self._device)
        self._tokenizer = open_clip.get_tokenizer(architecture)

    @torch.inference_mode()
    def tensors(self, images: Tensor) -> npt.NDArray[np.float32]:
        """(N, d) unit rows of (N, 3, H, W) float32 in [-1, 1]."""
        rows = []
        for batch in torch.split(images, _BATCH):
            resized = F.interpolate(batch, size=self._size, mode="bicubic", antialias=True).clamp(-1, 1)
            ready = ((resized + 1) / 2 - self._mean) / self._std
            rows.append(self._model.encode_image(ready.to(self._device), normalize=True).float().cpu().numpy())
        return np.concatenate(rows)

    def images(self, images: Images) -> npt.NDArray[np.float32]:
        """(N, d) unit rows of (N, H, W, C) uint8."""
        return np.concatenate([self.tensors(to_tensor(images[at : at + _BATCH])) for at in range(0, len(images), _BATCH)])

    @torch.inference_mode()
    def texts(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(P, d) unit rows."""
        rows: npt.NDArray[np.float32] = (
            self._model.encode_text(self._tokenizer(list(prompts)).to(self._device), normalize=True).float().cpu().numpy()
        )
        return rows


def _weights(architecture: str, weights: str, where: str) -> Path:
    import open_clip
    from huggingface_hub import try_to_load_from_cache

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights not in tags:
        if not weights:
            raise UserError(
                f"'{_PREFIX}{architecture}' names no weights",
                code="bad-value",
                where=where,
                fix="write open_clip:ARCHITECTURE/WEIGHTS",
            )
        return file_in(Path(weights), where)
    repository = (open_clip.get_pretrained_cfg(architecture, weights).get("hf_hub") or "").strip("/")
    found = try_to_load_from_cache(repository, _HUB_FILE) if repository else None
    if not isinstance(found, str):
        fix = f"fetch them with `hf download {repository} {_HUB_FILE}`" if repository else "name a local safetensors file"
        raise UserError(
            f"the weights {architecture}/{weights} are not on this machine",
            code="missing-weights",
            where=where,
            fix=f"{fix}; pd does not",
        )
    return Path(found)


def _names(architecture: str) -> str:
    import difflib

    import open_clip

    return f"did you mean '{difflib.get_close_matches(architecture, open_clip.list_models(), n=1, cutoff=0.0)[0]}'?"
