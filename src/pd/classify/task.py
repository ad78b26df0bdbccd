"""Training a classifier on labels that may be probabilities."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from pd.classify.inputs import Inputs, batch_rows, shape, share_of, tensor
from pd.classify.networks import build
from pd.config import digest_of
from pd.training.task import Batch, Facts, Ranks, Task

PREDICT = 1024  # rows of a forward when nothing is learned
PREDICT_PIXELS = 1 << 22  # of a forward: of large images fewer at a time  # ours


class ClassifierTask(Task):
    """Cross-entropy against targets, (N, C) rows that sum to one; or, with `multi_label`, binary cross-entropy a column.

    Args:
        inputs: what is classified.
        targets: (N, C) float32; NaN in a multi-label target is unknown and does not count.
        seed: weights and batches follow from it.
        batch: rows a step.
        width: of the network; None: its default.
        multi_label: columns are labels of their own.
        digest: of the inputs' content, and of how it is trained, for `key`.
    """

    def __init__(
        self,
        inputs: Inputs,
        targets: npt.NDArray[np.float32],
        *,
        seed: int,
        batch: int = 128,
        width: int | None = None,
        multi_label: bool = False,
        digest: str = "",
    ) -> None:
        self.inputs, self.targets, self.seed, self.size, self.width = inputs, targets, seed, batch, width
        self.multi_label = multi_label
        self.key = digest_of([digest, digest_of_array(targets), seed, batch, width, multi_label])

    def build(self) -> nn.Module:
        return build(shape(self.inputs), self.targets.shape[1], self.seed, self.width)

    def batch(self, step: int, rank: int, world: int) -> Batch:
        whole = batch_rows(self.seed, step, len(self.inputs), self.size)
        rows = share_of(whole, rank, world)
        # Known targets of the global batch, by rank: with gaps, ranks have not alike many.
        each = torch.tensor(max(1.0, float(np.isfinite(self.targets[whole]).sum())) / world)
        return {"inputs": tensor(self.inputs, rows), "targets": torch.from_numpy(self.targets[rows]), "each": each}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        logits, targets = module(batch["inputs"]), batch["targets"]
        if not self.multi_label:
            return {"loss": F.cross_entropy(logits, targets)}
        known = torch.isfinite(targets)
        losses = F.binary_cross_entropy_with_logits(logits, torch.where(known, targets, 0.0), reduction="none")
        return {"loss": (losses * known).sum() / batch["each"]}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        save_classifier(module, shape(self.inputs), self.targets.shape[1], self.width, folder)
        return {}


def save_classifier(module: nn.Module, shape: tuple[int, ...], classes: int, width: int | None, folder: Path) -> None:
    """Write `model.safetensors` and `config.json`, from which `load_classifier` builds the network again."""
    import json

    save_file({name: value.contiguous().cpu() for name, value in module.state_dict().items()}, folder / "model.safetensors")
    config: dict[str, Any] = {"shape": list(shape), "classes": classes, "width": width}
    (folder / "config.json").write_text(json.dumps(config) + "\n", encoding="utf-8")


def load_classifier(folder: Path) -> nn.Module:
    """What `save_classifier` wrote, in evaluation mode."""
    import json

    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    module = build(tuple(config["shape"]), config["classes"], 0, config["width"])
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return module.eval()


@torch.no_grad()
def predict(module: nn.Module, inputs: Inputs, *, multi_label: bool = False, batch: int = PREDICT) -> npt.NDArray[np.float32]:
    """Probabilities, (N, C) float32: of classes, or with `multi_label` of each label; so many rows at a time at most."""
    device, of = next(module.parameters()).device, shape(inputs)
    if len(of) == 3:
        batch = max(1, min(batch, PREDICT_PIXELS // (of[1] * of[2])))
    found = []
    for start in range(0, len(inputs), batch):
        rows = np.arange(start, min(start + batch, len(inputs)))
        logits = module(tensor(inputs, rows).to(device)).float()
        found.append((logits.sigmoid() if multi_label else logits.softmax(1)).cpu().numpy())
    return np.concatenate(found)


def digest_of_array(values: npt.NDArray[Any]) -> str:
    """Hexadecimal digest of an array's type, shape and content."""
    import hashlib

    digest = hashlib.sha256(f"{values.dtype} {values.shape} ".encode())
    digest.update(np.ascontiguousarray(values).view(np.uint8).data)
    return digest.hexdigest()[:16]
