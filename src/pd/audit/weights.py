"""Weights that somebody has on this machine: safetensors files. Nothing is downloaded, nothing is unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pd.errors import UserError

State = Mapping[str, Any]


def file_in(path: Path, where: str) -> Path:
    """The safetensors file that a path means: itself, or the only one in the folder.

    Raises:
        UserError: there is none, or several.
    """
    if path.is_file():
        return path
    found = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    if len(found) != 1:
        what = f"{len(found)} safetensors files in '{path}'" if path.is_dir() else f"no weights at '{path}'"
        raise UserError(what, code="missing-weights", where=where, fix="name one local safetensors file")
    return found[0]


def read_state(path: Path, where: str) -> State:
    """A state dict.

    Raises:
        UserError: no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: State = load_file(path)
    except (SafetensorError, OSError) as error:
        what = f"'{path}' is no safetensors file ({type(error).__name__})"
        raise UserError(what, code="bad-weights", where=where, fix="convert it with safetensors.torch.save_file") from None
    return state


def fill(module: Any, state: State, path: Path, where: str) -> None:
    """Load all keys or none.

    Raises:
        UserError: a key is missing, unknown or of another shape; the first is named.
    """
    own = module.state_dict()
    unfit = sorted(own.keys() ^ state.keys()) or sorted(key for key in own if own[key].shape != state[key].shape)
    if unfit:
        what = f"'{path}' does not fit this architecture, at '{unfit[0]}' ({len(unfit)} such)"
        raise UserError(what, code="bad-weights", where=where, fix="the file must hold this very network's state dict")
    module.load_state_dict(dict(state))
