"""A checkpoint of a training: what every rank holds of every parameter, by the parameter's name.

`rank_N.safetensors` has one flat float32 tensor per piece, named `kind:parameter:start`, of four kinds: the weights, their
average, and Adam's two moments. `client.json` has the rest. Nothing is pickled, and nothing in it knows of a ZeRO stage or
of a number of workers, so that both may differ between writer and reader.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pd.engine.training.partition import Piece
from pd.errors import UserError

WEIGHTS, AVERAGE, MOMENT_1, MOMENT_2 = "weights", "average", "moment_1", "moment_2"
KINDS = (WEIGHTS, AVERAGE, MOMENT_1, MOMENT_2)
_CLIENT = "client.json"
_PARTS = "rank_*.safetensors"


def write(folder: Path, rank: int, held: Mapping[str, list[Tensor]], pieces: Iterable[Piece]) -> None:
    """Write one rank's part.

    Args:
        folder: exists.
        rank: names the file.
        held: of each kind, tensors in the layout of the rank's masters.
        pieces: what the masters hold.
    """
    tensors = {
        f"{kind}:{piece.name}:{piece.start}": piece.of(held[kind][piece.group]).to("cpu", torch.float32, copy=True)
        for piece in pieces
        for kind in held
    }
    save_file(tensors, folder / f"rank_{rank}.safetensors")


def write_client(folder: Path, client: Mapping[str, Any]) -> None:
    """Write what is not a tensor; one rank does."""
    (folder / _CLIENT).write_text(json.dumps(client), encoding="utf-8")


def newest(folders: Iterable[Path]) -> Path | None:
    """The checkpoint with the most steps behind it, of those that are whole; None: none is."""
    found = [(steps, folder) for folder in folders if (steps := _steps(folder)) is not None]
    return max(found)[1] if found else None


def _steps(folder: Path) -> int | None:
    """How many steps lie behind a checkpoint; None: a rank's part is missing or cut off."""
    try:
        client = Checkpoint(folder).client
        parts = len(list(folder.glob(_PARTS)))
        return int(client["step"]) if parts == client.get("parts", parts) else None
    except (UserError, KeyError):
        return None


class _Run(NamedTuple):
    """Elements `start` to `start + length` of a parameter, and where they are."""

    start: int
    length: int
    file: int
    key: str


class Checkpoint:
    """A checkpoint to read from, whoever wrote it.

    Args:
        folder: with every rank's part.

    Attributes:
        client: what `write_client` was given.

    Raises:
        UserError: it is not whole, or is not readable.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[tuple[str, str], list[_Run]] = defaultdict(list)
        try:
            self.client: dict[str, Any] = json.loads((folder / _CLIENT).read_text(encoding="utf-8"))
            self._files: list[Any] = [safe_open(path, framework="pt") for path in sorted(folder.glob(_PARTS))]
            for number, file in enumerate(self._files):
                for key in file.keys():  # noqa: SIM118 - it is no mapping
                    kind, name, start = key.split(":")
                    length = file.get_slice(key).get_shape()[0]
                    self._runs[kind, name].append(_Run(int(start), length, number, key))
        except (OSError, ValueError, SafetensorError) as error:
            raise self.broken(f"cannot be read ({type(error).__name__})") from None

    def names(self) -> set[str]:
        """The parameters that it knows."""
        return {name for _, name in self._runs}

    def read(self, kind: str, name: str, start: int, length: int) -> Tensor:
        """Elements `start` to `start + length` of one kind of a flattened parameter: (length,) float32, on the CPU.

        Raises:
            UserError: not all of them are there.
        """
        out, found = torch.empty(length), 0
        for run in self._runs[kind, name]:
            low, high = max(start, run.start), min(start + length, run.start + run.length)
            if low < high:
                out[low - start : high - start] = self._files[run.file].get_slice(run.key)[low - run.start : high - run.start]
                found += high - low
        if found != length:
            raise self.broken(f"has {found} of {length} elements of {name}")
        return out

    def fill(self, kind: str, tensors: list[Tensor], pieces: Iterable[Piece]) -> None:
        """Write one kind into tensors in the layout of a rank's masters, in place."""
        for piece in pieces:
            piece.of(tensors[piece.group]).copy_(self.read(kind, piece.name, piece.start, piece.length))

    def broken(self, what: str) -> UserError:
        """What to raise when it is of no use."""
        return UserError(
            f"the checkpoint {what}",
            code="unreadable-file",
            where=str(self._folder),
            fix="remove the folder above it to train from the start",
        )
