"""A checkpoint of a training on small networks: one folder with safetensors and JSON, whole or not there."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pd.errors import UserError
from pd.store.atomic import write_folder

_NAME = "step_"
_TENSORS, _STATE = "state.safetensors", "state.json"


def save(folder: Path, done: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write the checkpoint after `done` steps into `folder`; older ones go once it is whole."""
    with write_folder(folder / f"{_NAME}{done:08d}") as aside:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, aside / _TENSORS)
        (aside / _STATE).write_text(json.dumps({**state, "done": done}), encoding="utf-8")
    for old in sorted(folder.glob(f"{_NAME}*"))[:-1]:
        shutil.rmtree(old)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last checkpoint in `folder`: tensors by name, and the state, of which `done` counts steps; None: there is none.

    Raises:
        UserError: it cannot be read.
    """
    found = sorted(folder.glob(f"{_NAME}*"))
    if not found:
        return None
    try:
        return load_file(found[-1] / _TENSORS), json.loads((found[-1] / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"the checkpoint cannot be read ({type(error).__name__})",
            where=str(found[-1]),
            fix="remove the folder above it to train from the start",
        ) from None


def optimiser_tensors(optimiser: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state by `NAME OF PARAMETER|KIND`."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {
        f"{names[id(parameter)]}|{kind}": value if isinstance(value, Tensor) else torch.tensor(value)
        for parameter, state in optimiser.state.items()
        for kind, value in state.items()
        if value is not None
    }


def load_optimiser(optimiser: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take back what `optimiser_tensors` gave."""
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        name, _, kind = key.rpartition("|")
        parameter = parameters[name]
        place = parameter.device if value.ndim else torch.device("cpu")
        optimiser.state[parameter][kind] = value.to(place, copy=True)
