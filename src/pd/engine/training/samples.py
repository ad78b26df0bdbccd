"""What a training model makes of the same noise and prompts, every so many steps: a grid of pictures."""

import copy
import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pd.config import ModelSettings
from pd.dataset.images import Mode, Pixels
from pd.diffusion.adapter import merge
from pd.diffusion.components import Components
from pd.diffusion.sampler import Sampler
from pd.store.atomic import write_bytes

COLUMNS = ROWS = 4
STEPS = 15
_GAP = 2  # pixels between two pictures
_GREY = 128

Module = TypeVar("Module", bound=nn.Module)


def sample_grid(
    components: Components,
    weights: Mapping[str, Tensor],
    settings: ModelSettings,
    *,
    mode: Mode,
    prompts: Sequence[str],
    seed: int,
    device: torch.device,
) -> Pixels:
    """Sixteen samples of a model, side by side: (H, W, C) uint8. The model and all random states stay as they are.

    Args:
        components: the model, in training.
        weights: what to sample with, as `TrainEngine.averaged` gives it.
        settings: of the training.
        mode: grey or rgb.
        prompts: at least one; they take turns.
        seed: equal seeds make grids from equal noise.
        device: where to sample.

    Raises:
        UserError: the weights make NaN.
        torch.OutOfMemoryError: there is no room beside the training.
    """
    count = ROWS * COLUMNS
    parts = replace(
        components,
        unet=_with_weights(components.unet, "unet", weights),
        text_encoder=_with_weights(components.text_encoder, "text_encoder", weights),
    )
    sampler = Sampler(parts, mode=mode, batch=count, device=str(device), precision=settings.precision, compiled=False)
    asked = [prompts[row % len(prompts)] for row in range(count)]
    return tiled(sampler.sample(range(count), asked, seed, STEPS, guidance=1.0), COLUMNS)


def write_picture(path: Path, pixels: Pixels) -> None:
    """Write a picture (H, W, C) uint8 as PNG, whole or not at all."""
    held = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(held, "PNG")
    write_bytes(path, held.getvalue())


def tiled(pictures: Pixels, columns: int) -> Pixels:
    """(N, h, w, C) as one picture, row by row; N is a multiple of `columns`."""
    count, height, width, channels = pictures.shape
    rows = count // columns
    sheet = np.full((rows, height + _GAP, columns, width + _GAP, channels), _GREY, np.uint8)
    sheet[:, :height, :, :width] = pictures.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return sheet.reshape(rows * (height + _GAP), columns * (width + _GAP), channels)[:-_GAP, :-_GAP]


def _with_weights(module: Module, part: str, weights: Mapping[str, Tensor]) -> Module:
    """A copy with other weights, on the CPU, what LoRA added merged into them.

    Parameters that are not among the weights are not trained, and copied as they are; the hooks by which DeepSpeed follows
    the original are not.
    """
    memo: dict[int, object] = {}
    for name, parameter in module.named_parameters():
        value = weights.get(f"{part}.{name}", parameter.detach())
        memo[id(parameter)] = nn.Parameter(value.to("cpu", parameter.dtype), requires_grad=False)
    for inner in module.modules():
        for name, held in vars(inner).items():
            if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")):
                memo[id(held)] = OrderedDict()
    found = copy.deepcopy(module, memo)
    merge(found)
    return found
