"""What NACO is compared with: the same networks, trained on labelled clips alone.

`frames`: the CNN and a layer judge each frame by itself, and a window's logit is the mean; `scratch`: CNN and
Transformer from random weights.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pd.classify.inputs import batch_rows, share_of
from pd.classify.task import digest_of_array
from pd.config import digest_of
from pd.forgery.network import build_clip_net
from pd.forgery.windows import Footage, batch_of, drawn, in_units
from pd.seeds import derive
from pd.training.ranks import Ranks
from pd.training.task import Batch, Facts, Task


class Judge(nn.Module):
    """A clip network and what makes one logit of it; (n, T, 3, S, S) -> (n,), positive: forged."""

    def __init__(self, by_frame: bool, width: int, dim: int, layers: int, seed: int) -> None:
        super().__init__()
        self.by_frame, self.net = by_frame, build_clip_net(width, dim, layers, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "head"))
            self.head = nn.Linear(dim if by_frame else 2 * dim, 1)

    def forward(self, clips: Tensor) -> Tensor:
        if self.by_frame:
            logits: Tensor = self.head(self.net.token(self.net.cells(clips).flatten(2)).relu())
            return logits.mean((1, 2))
        whole: Tensor = self.head(self.net.features(clips))
        return whole[:, 0]


class JudgeTask(Task):
    """Real against forged, end to end: half of each batch is of either.

    Args:
        footage: clips of both.
        forged: (M,) bool, which are.
        by_frame: without the Transformer.
        window, batch, seed, width, dim, layers: as of `NacoTask`; the batch is even.
    """

    watch = "no"

    def __init__(
        self,
        footage: Footage,
        forged: npt.NDArray[np.bool_],
        *,
        by_frame: bool,
        window: int,
        batch: int,
        seed: int,
        width: int = 16,
        dim: int = 96,
        layers: int = 2,
    ) -> None:
        self.footage, self.forged, self.by_frame = footage, forged, by_frame
        self.window, self.size, self.seed = window, batch, seed
        self.network = {"width": width, "dim": dim, "layers": layers}
        named = [footage.digest, digest_of_array(forged), by_frame, window, batch, seed, self.network]
        self.key = digest_of(["judge", *named])

    def build(self) -> nn.Module:
        return Judge(self.by_frame, **self.network, seed=derive(self.seed, "weights"))

    def batch(self, step: int, rank: int, world: int) -> Batch:
        half = self.size // 2
        sides = [np.flatnonzero(self.forged == side) for side in (False, True)]
        rows = np.concatenate(
            [
                side[batch_rows(self.seed + n, step, -(-half // len(side)) * len(side), half) % len(side)]
                for n, side in enumerate(sides)
            ]
        )
        at = share_of(np.arange(self.size), rank, world)
        places = []
        for place in at.tolist():
            clip = int(rows[place])
            places.append((clip, drawn(int(self.footage.lengths[clip]), self.window, self.seed, "view", step, place)))
        truth = torch.from_numpy(self.forged[rows[at]].astype(np.float32))
        mirrored = np.random.default_rng(derive(self.seed, "mirror", step)).random(self.size)[at] < 0.5
        return {"clips": batch_of(self.footage, places, self.window), "forged": truth, "mirrored": torch.from_numpy(mirrored)}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        clips = in_units(batch["clips"])
        clips = torch.where(batch["mirrored"].view(-1, 1, 1, 1, 1), clips.flip(-1), clips)
        return {"loss": F.binary_cross_entropy_with_logits(module(clips), batch["forged"])}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        save_file({name: value.contiguous().cpu() for name, value in module.state_dict().items()}, folder / "model.safetensors")
        return {}

    def read(self, folder: Path) -> nn.Module:
        """What `export` wrote, in evaluation mode."""
        module = self.build()
        module.load_state_dict(load_file(folder / "model.safetensors"))
        return module.eval()
