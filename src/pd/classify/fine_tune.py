"""Supervised fine-tuning of a vision transformer: the first phase of Semi-ViT, and what it is compared with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pd.classify import views
from pd.classify.inputs import Inputs, shape, share_of, tensor
from pd.classify.task import digest_of_array
from pd.classify.vit import Vit, build_vit, decay_of, optimiser, start_from
from pd.config import digest_of
from pd.config.semi_vit import SemiVitSettings, VitSettings
from pd.config.training import TrainingSettings
from pd.seeds import derive
from pd.store.files import digest_file
from pd.training.task import Batch, Facts, Ranks, Task

Index = npt.NDArray[np.int64]


def stream_rows(seed: int, step: int, rows: int, batch: int) -> Index:
    """(batch,) rows of a step: one shuffled pass after another, without a gap, so that every step has a whole batch."""
    first = step * batch
    passes = range(first // rows, (first + batch - 1) // rows + 1)
    orders = np.concatenate([np.random.default_rng([seed, each]).permutation(rows) for each in passes])
    begin = first - passes.start * rows
    return orders[begin : begin + batch].astype(np.int64)


class FineTuneTask(Task):
    """Cross-entropy of strong views of labelled images; images without a label are not looked at.

    Args:
        inputs: N images.
        labels: (N,) int64, -1 where there is none.
        classes: how many there are.
        settings: network, batch, views.
        seed: weights and batches follow from it.
        digest: of the inputs' content, for `key`.
        start: a folder that holds another training's `model.safetensors` to start from; None: the network's own weights.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: Index,
        classes: int,
        settings: SemiVitSettings,
        *,
        seed: int,
        digest: str = "",
        start: Path | None = None,
    ) -> None:
        self.inputs, self.labels, self.classes, self.settings, self.seed = inputs, labels, classes, settings, seed
        self.labelled: Index = np.flatnonzero(labels >= 0).astype(np.int64)
        self.start = start
        file = settings.network.weights
        begins = [str(path) and digest_file(Path(path)) for path in (file, start and start / "model.safetensors") if path]
        self.key = digest_of(
            [self.kind, digest, digest_of_array(labels), classes, settings.model_dump(mode="json"), seed, begins]
        )

    kind = "fine_tune"

    def network(self) -> Vit:
        """The transformer before its training."""
        module = build_vit(self.settings.network, shape(self.inputs), self.classes, derive(self.seed, "vit"))
        if self.start is not None:
            start_from(module, load_file(self.start / "model.safetensors"))
        return module

    def build(self) -> nn.Module:
        return self.network()

    def of_labelled(self, step: int, rank: int, world: int) -> dict[str, Tensor]:
        """A rank's labelled images of a step, their classes, and the numbers of their views."""
        size = self.settings.batch
        rows = self.labelled[stream_rows(derive(self.seed, "labelled"), step, len(self.labelled), size)]
        own = share_of(np.arange(size), rank, world)
        return {
            "images": tensor(self.inputs, rows[own]),
            "labels": torch.from_numpy(self.labels[rows[own]]),
            "numbers": views.draw(derive(self.seed, "views", step), size)[own],
        }

    def batch(self, step: int, rank: int, world: int) -> Batch:
        return self.of_labelled(step, rank, world)

    @property
    def pretrained(self) -> bool:
        """Whether it starts from weights that something was learned with."""
        return self.start is not None or self.settings.network.weights is not None

    def supervised_loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy of strong views of a rank's labelled images."""
        seen = views.strong(batch["images"], batch["numbers"], flip=self.settings.flip)
        return F.cross_entropy(module(seen), batch["labels"])

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        return {"loss": self.supervised_loss(module, batch)}

    def optimiser(self, module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
        assert isinstance(module, Vit)
        return optimiser(module, settings, decay_of(self.settings.network, self.pretrained))

    def export(self, module: nn.Module, folder: Path) -> Facts:
        assert isinstance(module, Vit)
        save_vit(module, self.settings.network, shape(self.inputs), self.classes, folder)
        return {}


def save_vit(module: nn.Module, settings: VitSettings, of: tuple[int, ...], classes: int, folder: Path) -> None:
    """Write `model.safetensors` and `config.json`, from which `load_vit` builds the network again."""
    save_file({name: value.contiguous().cpu() for name, value in module.state_dict().items()}, folder / "model.safetensors")
    network = settings.patched(of[1]).model_dump(mode="json", exclude={"weights"})
    config: dict[str, Any] = {"shape": list(of), "classes": classes, "vit": network}
    (folder / "config.json").write_text(json.dumps(config) + "\n", encoding="utf-8")


def load_vit(folder: Path) -> Vit:
    """What `save_vit` wrote, in evaluation mode."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = VitSettings.model_validate(config["vit"])
    module = build_vit(settings, tuple(config["shape"]), config["classes"], 0)
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return module.eval()
