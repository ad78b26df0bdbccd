"""NACO: natural consistency of videos, learned from real clips alone.

"Learning Natural Consistency Representation for Face Forgery Video Detection" (arXiv 2407.10550). Two tasks on
the same network:

- SPM, spatial prediction: a share of the frames of a window is masked, and their spatial features are predicted from the
  rest: mean squared error between the prediction and the features, which do not follow (stop-gradient).
- TCM, temporal contrast: two natural views a and b of a clip are pulled together, and the same windows with their frames
  shuffled, s_j, are pushed away: -log(exp(a.b / t) / (exp(a.b / t) + sum_j exp(a.s_j / t))), and the same for b.
  Shuffled windows of other clips are no part of it: who is shown would tell them apart, and order need not be learned.
  Where all windows look alike to the network this has no slope; so a direction n that is learned along stands for what is
  natural, and -log(exp(a.n / t) / (exp(a.n / t) + sum_j exp(s_j.n / t))) is added for both views. Both are ours.

What the paper leaves to its code, and is ours: the sizes, the share of masked frames, the temperature, the equal weights,
which views count as natural (two windows of a clip, each with its own mirror, light and contrast), and that features are
standardised within a cell before they are predicted, so that they cannot shrink.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pd.classify.inputs import batch_rows, share_of
from pd.config import digest_of
from pd.forgery.network import ClipNet, build_clip_net
from pd.forgery.windows import Footage, batch_of, drawn, in_units, shuffled
from pd.seeds import derive
from pd.training.ranks import Ranks
from pd.training.task import Batch, Facts, Task

MASKED = 0.5  # of a window's frames  # ours
TEMPERATURE = 0.2  # ours
LIGHT = 0.2  # most that a view's brightness and contrast change  # ours
SHUFFLES = 4  # shuffled windows of each clip, half of either view  # ours
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class NacoTask(Task):
    """Natural consistency of real clips.

    Args:
        footage: natural clips, each of `window` frames at least.
        window: frames that are looked at together.
        batch: clips a step; the global one divides among the ranks.
        seed: weights, views, masks and shuffles follow from it.
        width, dim, layers: of the network.
        spm: weight of the spatial prediction; 0: left out.
        tcm: weight of the temporal contrast; 0: left out.
        digest: of how it is trained, for `key`.
    """

    watch = "no"

    def __init__(
        self,
        footage: Footage,
        *,
        window: int,
        batch: int,
        seed: int,
        width: int = 16,
        dim: int = 96,
        layers: int = 2,
        spm: float = 1.0,
        tcm: float = 1.0,
        digest: str = "",
    ) -> None:
        self.footage, self.window, self.size, self.seed = footage, window, batch, seed
        self.network = {"width": width, "dim": dim, "layers": layers}
        self.spm, self.tcm = spm, tcm
        self.key = digest_of(["naco", footage.digest, window, batch, seed, self.network, spm, tcm, digest])

    def build(self) -> nn.Module:
        return build_clip_net(**self.network, seed=derive(self.seed, "weights"))

    def batch(self, step: int, rank: int, world: int) -> Batch:
        # With fewer clips than a batch each is there several times, with other views.
        repeats = -(-self.size // len(self.footage))
        whole = batch_rows(self.seed, step, repeats * len(self.footage), self.size)
        at = share_of(np.arange(self.size), rank, world).tolist()
        clips = [int(whole[place]) % len(self.footage) for place in at]

        def places(view: str) -> list[tuple[int, int]]:
            lengths = self.footage.lengths
            return [
                (clip, drawn(int(lengths[clip]), self.window, self.seed, view, step, place))
                for place, clip in zip(at, clips, strict=True)
            ]

        orders = [[shuffled(self.window, self.seed, "order", step, place, k) for k in range(SHUFFLES)] for place in at]
        masks = [self._masked(step, place) for place in at]
        light = [[self._light(view, step, place) for view in ("first", "second")] for place in at]
        return {
            "first": batch_of(self.footage, places("first"), self.window),
            "second": batch_of(self.footage, places("second"), self.window),
            "orders": torch.from_numpy(np.array(orders)),
            "masked": torch.from_numpy(np.stack(masks)),
            "light": torch.tensor(light, dtype=torch.float32),
        }

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        assert isinstance(module, ClipNet)
        light, masked = batch["light"], batch["masked"]
        cells = module.cells(_view(batch["first"], light[:, 0]))
        seen = module.look(cells, masked)
        target = cells.detach()
        spm = ((seen.predicted - target) ** 2).mean((2, 3))[masked].mean()
        figures = {"spm": spm}
        total = self.spm * spm
        if self.tcm:
            both = (cells, module.cells(_view(batch["second"], light[:, 1])))
            mixed = [_mixed(both[k % 2], orders) for k, orders in enumerate(batch["orders"].unbind(1))]
            summary = module.look(torch.cat([*both, *mixed])).summary
            each = summary.view(len(both) + len(mixed), len(cells), -1)
            unnatural = each[2:].transpose(0, 1)
            tcm = contrast(each[0], each[1], unnatural) + against(module.natural, each[:2], unnatural)
            figures["tcm"] = tcm
            total = total + self.tcm * tcm
        return {"loss": total, **figures}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        save_file({name: value.contiguous().cpu() for name, value in module.state_dict().items()}, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps({**self.network, "window": self.window}) + "\n", encoding="utf-8")
        return {}

    def _masked(self, step: int, place: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        count = min(max(1, round(MASKED * self.window)), self.window - 1)
        order = np.random.default_rng(derive(self.seed, "mask", step, place)).permutation(self.window)
        return np.isin(np.arange(self.window), order[:count])

    def _light(self, view: str, step: int, place: int) -> list[float]:
        """Gain, offset, and whether it is mirrored."""
        a, b, c = np.random.default_rng(derive(self.seed, "light", view, step, place)).random(3).tolist()
        return [1 + LIGHT * (2 * a - 1), LIGHT * (2 * b - 1), float(c < 0.5)]


def contrast(first: Tensor, second: Tensor, unnatural: Tensor) -> Tensor:
    """Mean over clips of the temporal contrast, both ways; a scalar.

    Args:
        first, second: (n, e) of length one, two natural views of each clip.
        unnatural: (n, m, e) of length one, of m shuffled windows of each.
    """
    near = (first * second).sum(1, keepdim=True) / TEMPERATURE
    both = []
    for view in (first, second):
        far = (unnatural * view[:, None]).sum(2) / TEMPERATURE
        both.append((torch.logsumexp(torch.cat([near, far], dim=1), dim=1) - near[:, 0]).mean())
    return (both[0] + both[1]) / 2


def against(natural: Tensor, views: Tensor, unnatural: Tensor) -> Tensor:
    """Mean over views of how little they lie in the natural direction, beside the shuffled windows; a scalar.

    Args:
        natural: (e,), the direction.
        views: (v, n, e) of length one, natural views of each clip.
        unnatural: (n, m, e) of length one, of m shuffled windows of each.
    """
    towards = F.normalize(natural, dim=0)
    near, far = views @ towards / TEMPERATURE, unnatural @ towards / TEMPERATURE
    all_far = torch.logsumexp(far, dim=1).expand_as(near)
    return (torch.logaddexp(near, all_far) - near).mean()


def _mixed(cells: Tensor, orders: Tensor) -> Tensor:
    """(n, T, ...) with the frames of each in its order, (n, T)."""
    return cells.gather(1, orders[:, :, None, None].expand_as(cells))


def _view(pixels: Tensor, light: Tensor) -> Tensor:
    """(n, T, S, S, C) uint8 -> (n, T, 3, S, S) float32; the same change for all frames of a window."""
    images = in_units(pixels)
    gain, offset, mirror = (light[:, place].view(-1, 1, 1, 1, 1) for place in range(3))
    return torch.where(mirror > 0, images.flip(-1), images) * gain + offset


def load_naco(folder: Path) -> tuple[ClipNet, int]:
    """What `NacoTask.export` wrote, in evaluation mode, and the frames of its window."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    window = int(config.pop("window"))
    module = build_clip_net(**config, seed=0)
    module.load_state_dict(load_file(folder / WEIGHTS))
    return module.eval(), window
