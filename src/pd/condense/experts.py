"""The networks that DANCE looks through: trained on the real pictures, their first weights a function of the seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pd.classify.inputs import Inputs, batch_rows, share_of
from pd.condense import augment
from pd.condense.networks import Architecture, build, in_units, prepared
from pd.config import digest_of
from pd.seeds import derive
from pd.training.ranks import Ranks
from pd.training.task import Batch, Facts, Task

WEIGHTS = "model.safetensors"


class LearnerTask(Task):
    """A network of random weights that learns pictures in [0, 1], changed as condensed ones are.

    Args:
        inputs: pictures, (N, S, S, C) uint8.
        labels: (N,) int64.
        classes: how many there are.
        mean, deviation: (C,) of the pictures that networks are to see as standard.
        architecture: see `networks.build`.
        width: see there.
        batch: pictures a step; the global one divides among the ranks.
        seed: of weights, batches and changes.
        digest: of the pictures and of how it is trained, for `key`.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: npt.NDArray[np.int64],
        *,
        classes: int,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        architecture: Architecture = "convnet",
        width: int = 128,
        batch: int = 128,
        seed: int = 0,
        digest: str = "",
    ) -> None:
        _, self.side, _, self.channels = inputs.take(np.zeros(1, np.int64)).shape
        self.inputs, self.labels, self.classes, self.seed, self.size = inputs, labels, classes, seed, batch
        self.architecture, self.width = architecture, width
        self.mean, self.deviation = torch.tensor(mean), torch.tensor(deviation)
        self.key = digest_of(["learner", digest, classes, mean, deviation, architecture, width, batch, seed])

    def build(self) -> nn.Module:
        return build(self.architecture, self.classes, self.channels, self.side, self.width, self.seed)

    def batch(self, step: int, rank: int, world: int) -> Batch:
        rows = share_of(batch_rows(self.seed, step, len(self.inputs), self.size), rank, world)
        pixels = torch.from_numpy(np.ascontiguousarray(self.inputs.take(rows)))
        return {"images": pixels, "labels": torch.from_numpy(self.labels[rows])}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        images = in_units(batch["images"])
        change = augment.draw(torch.Generator().manual_seed(derive(self.seed, "change", step)))
        seen = prepared(images, self.mean.to(images.device), self.deviation.to(images.device))
        return {"loss": F.cross_entropy(module(augment.apply(seen, change)), batch["labels"])}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        save_file({name: value.contiguous().cpu() for name, value in module.state_dict().items()}, folder / WEIGHTS)
        return {}

    @torch.no_grad()
    def accuracy(self, folder: Path, inputs: Inputs, labels: npt.NDArray[np.int64]) -> float:
        """Share of pictures that the network in `folder`, as `export` wrote it, names right."""
        module = self.build()
        module.load_state_dict(weights_of(folder))
        module.eval()
        right = 0
        for start in range(0, len(inputs), 500):
            rows = np.arange(start, min(start + 500, len(inputs)))
            pixels = in_units(torch.from_numpy(np.ascontiguousarray(inputs.take(rows))))
            said = module(prepared(pixels, self.mean, self.deviation)).argmax(1).numpy()
            right += int((said == labels[rows]).sum())
        return right / len(inputs)


def weights_of(folder: Path) -> dict[str, Any]:
    """The weights that `LearnerTask.export` wrote."""
    found: dict[str, Any] = load_file(folder / WEIGHTS)
    return found
