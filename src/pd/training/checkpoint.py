"""A checkpoint of a training on small networks: one folder with safetensors and JSON, whole or not there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pd.errors import UserError
from pd.store.kept import at_hand, discard, keep_folder
from pd.training.ranks import Ranks

_NAME = "step_"
_TENSORS, _STATE = "state.safetensors", "state.json"


def save(folder: Path, done: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write the checkpoint after `done` steps into `folder`; older ones go once it is whole."""
    new = folder / f"{_NAME}{done:08d}"
    with keep_folder(new) as aside:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, aside / _TENSORS)
        (aside / _STATE).write_text(json.dumps({**state, "done": done}), encoding="utf-8")
    discard(*(old for old in folder.glob(f"{_NAME}*") if old != new))


def load(folder: Path, ranks: Ranks) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last checkpoint in `folder`: tensors by name, and the state, of which `done` counts steps; None: there is none.

    All ranks call it, and read the one that the first has found.

    Raises:
        UserError: it cannot be read.
    """
    at_hand(folder)
    found = ranks.barrier_agree(max(folder.glob(f"{_NAME}*"), default=None) if ranks.rank == 0 else None)
    if found is None:
        return None
    try:
        return load_file(found / _TENSORS), json.loads((found / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"the checkpoint cannot be read ({type(error).__name__})",
            code="unreadable-file",
            where=str(found),
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
        held = torch.empty_like(parameter, dtype=value.dtype) if value.shape == parameter.shape else None
        # In the parameter's own memory order (channels last), in which the moments of an uninterrupted training lie.
        optimiser.state[parameter][kind] = value.to(place, copy=True) if held is None else held.copy_(value)
