"""Which elements of which parameter a rank steps, under every ZeRO stage.

ZeRO (Rajbhandari et al., arXiv 1910.02054) cuts the float32 weights, the optimiser's moments and, at stage 3, the
parameters themselves into a flat part per rank. Told as (parameter, range of its elements), the parts of any stage and
any number of workers can be put together again, which is how a training resumes from a checkpoint of another layout.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pd.config import ModelSettings

_HELD = 20  # bytes that a training holds of each parameter: weight, gradient, two moments, average
_SMALL = 2**30


@dataclass(frozen=True)
class Piece:
    """A run of one parameter's elements.

    Attributes:
        name: the parameter's.
        start: first element, in the flattened parameter.
        length: elements.
        group: which of the rank's master tensors holds them.
        offset: where they start in that tensor, flattened.
    """

    name: str
    start: int
    length: int
    group: int
    offset: int

    def of(self, tensor: Tensor) -> Tensor:
        """The piece's elements in its master tensor, or in one of the same layout: a view, (length,)."""
        return tensor.detach().view(-1).narrow(0, self.offset, self.length)


def stage_of(settings: ModelSettings, trained: int, world: int) -> int:
    """The ZeRO stage of a training of so many parameters on so many ranks.

    A rank alone has nobody to share with, but may have a CPU to leave the optimiser to. Where the stage is left to us, small
    models are not cut up: that costs more time than it saves memory.
    """
    if world == 1 and settings.offload == "none":
        return 0
    if settings.zero_stage != "auto":
        return settings.zero_stage
    small = trained * _HELD <= _SMALL
    return 0 if small and settings.offload == "none" else 2


def masters(engine: Any, stage: int) -> list[Tensor]:
    """The float32 tensors that the optimiser steps on this rank, flat parts, at stages 1 to 3."""
    held = "fp32_partitioned_groups_flat" if stage == 3 else "single_partition_of_fp32_groups"
    return list(getattr(engine.optimizer, held))


def pieces(engine: Any, stage: int, rank: int) -> list[Piece]:
    """What a rank's masters hold at stages 1 to 3, padding left out."""
    names = {id(parameter): name for name, parameter in engine.module.named_parameters() if parameter.requires_grad}
    cut = _cut_by_parameter if stage == 3 else _cut_flat
    return [piece for piece in cut(engine.optimizer, rank, names) if piece.length > 0]


def _cut_flat(optimizer: Any, rank: int, names: dict[int, str]) -> list[Piece]:
    """Stages 1 and 2: the parameters in a row are cut into equal parts, wherever that falls."""
    found = []
    for group, parameters in enumerate(optimizer.round_robin_bit16_groups):
        size = int(optimizer.partition_size[group])
        begin, end = rank * size, (rank + 1) * size
        for parameter, at in zip(parameters, optimizer.round_robin_bit16_offsets[group], strict=True):
            low, high = max(at, begin), min(at + parameter.numel(), end)
            found.append(Piece(names[id(parameter)], low - at, high - low, group, low - begin))
    return found


def _cut_by_parameter(optimizer: Any, rank: int, names: dict[int, str]) -> list[Piece]:
    """Stage 3: each parameter is cut into equal parts, the last ones padded or empty."""
    found = []
    for group, parameters in enumerate(optimizer.fp16_groups):
        offset = 0
        for parameter in parameters:
            part = int(parameter.partition_numel())
            start = rank * part
            found.append(Piece(names[id(parameter)], start, min(part, parameter.ds_numel - start), group, offset))
            offset += part
    return found
