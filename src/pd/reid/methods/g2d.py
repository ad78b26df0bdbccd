"""G2D: from generative to discriminative, for masked and half-hidden people (arXiv 2405.16761).

1. An inpainting network learns, from *other* people than those who are to be recognised, to show a picture whole of which a
   part is hidden: min |D(E(x hidden)) - x|_1, pictures at mean 0 and deviation 1. `Inpainter` trains E and D.
2. The encoder E is fine-tuned by cross-entropy on hidden pictures, so that these give descriptors that know classes.
3. A reformer, a CNN on the frozen encoder, learns the *relations* that a recogniser T finds between the whole pictures,

       L = cross-entropy + relation mean_ij (cos(r_i, r_j) - cos(T_i, T_j))^2.

Re-implemented. The inpainting is blind (nothing says which part is hidden), as it must be when a stranger's picture
is looked at. Ours: the networks, the mean in place of a sum, and the weight.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pd.config import digest_of
from pd.config.recognisers import G2dSettings, Views
from pd.reid.backbones import four_by_four
from pd.reid.methods.aird import RELATION, relation
from pd.reid.methods.base import Classes, Seen
from pd.reid.resize import area
from pd.reid.rows import Rows
from pd.reid.views import draw_views, see
from pd.seeds import derive
from pd.training.ranks import share_of
from pd.training.task import Batch, Facts, Ranks, Task

ENCODER = "encoder.safetensors"
_CHANNELS = (32, 64, 128)


class G2d(nn.Module):
    """The losses of the encoder's fine-tuning (without a reformer) and of the reformer.

    Args:
        settings: weights.
        dim: d of the student.
        centres: (K, e) the teacher's mean embedding of each person.
    """

    def __init__(self, settings: G2dSettings, dim: int, centres: Tensor) -> None:
        super().__init__()
        self.settings, self.classes = settings, Classes(dim, centres)

    def forward(self, seen: Seen) -> Mapping[str, Tensor]:
        """`loss`, and its parts."""
        found = {"classes": F.cross_entropy(self.classes.student(seen.student), seen.who)}
        loss = found["classes"]
        if self.settings.reformer and self.settings.relation:
            found["relation"] = relation(seen.teacher, seen.student)
            loss = loss + seen.distilling * RELATION * self.settings.relation * found["relation"]
        return {"loss": loss, **{name: value.detach() for name, value in found.items()}}


def plain(images: Tensor) -> Tensor:
    """(N, 3, H, W) at mean 0 and deviation 1 each, so that light carries nothing; larger ones than 64 averaged down to 64."""
    if max(images.shape[2:]) > 64:
        images = area(images, (64, 64))
    centred = images - images.mean((1, 2, 3), keepdim=True)
    return centred / (centred.square().mean((1, 2, 3), keepdim=True).sqrt() + 0.02)


class Encoder(nn.Module):
    """(N, 3, H, W) in [-1, 1] -> (N, 128, H/8, W/8); larger pictures than 64 are averaged down to 64."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in _CHANNELS:
            layers += [nn.Conv2d(before, channels, 4, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)]
            layers += [nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)]
            before = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.layers(plain(images))
        return maps


class Generative(nn.Module):
    """The encoder's features as they are."""

    features = 128 * 16

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, 2048)."""
        return four_by_four(self.encoder(images)).flatten(1)


class Reformed(Generative):
    """The encoder, frozen, and a CNN on top of its maps and of those before its last halving."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder.requires_grad_(False)
        self.fine = nn.Sequential(
            nn.Conv2d(64, 128, 3, 2, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 128, 3, 1, 1, bias=False)
        )
        self.mix = nn.Sequential(nn.BatchNorm2d(256), nn.ReLU(), nn.Conv2d(256, 128, 3, 1, 1, bias=False), nn.BatchNorm2d(128))

    def forward(self, images: Tensor) -> Tensor:
        middle = self.encoder.layers[:12](plain(images))
        last = self.encoder.layers[12:](middle)
        maps = F.relu(self.mix(torch.cat([last, self.fine(middle)], 1)) + last)
        return four_by_four(maps).flatten(1)

    def train(self, mode: bool = True) -> "Reformed":
        super().train(mode)
        self.encoder.eval()
        return self


class _Painter(nn.Module):
    """Encoder and decoder."""

    def __init__(self, side: tuple[int, int]) -> None:
        super().__init__()
        self.encoder, self.side = Encoder(), side
        layers: list[nn.Module] = []
        for before, after in ((128, 64), (64, 32), (32, 16)):
            layers += [nn.Upsample(scale_factor=2.0), nn.Conv2d(before, after, 3, 1, 1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.decoder = nn.Sequential(*layers, nn.Conv2d(16, 3, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        painted: Tensor = self.decoder(self.encoder(images))
        return painted


class Inpainter(Task):
    """The encoder's first training: to show hidden pictures whole. Of anybody; no names are needed.

    Args:
        rows: the pixels, (N, H, W, C) uint8, of other people than those who are to be recognised.
        views: what hides.
        seed: new weights, batches and what is hidden follow from it.
        fingerprint: of the pixels.
        batch: pictures a step.
        digest: of how it is trained, for `key`.
    """

    watch = "lost"

    def __init__(self, rows: Rows, views: Views, seed: int, fingerprint: str, batch: int, digest: str = "") -> None:
        self._rows, self._views, self._seed, self._batch = rows, tuple(views), seed, batch
        held = {"inpainting": list(views), "pixels": fingerprint, "seed": seed, "batch": batch, "shape": list(rows.shape)}
        self.key = digest_of({**held, "training": digest})

    def build(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            return _Painter((self._rows.shape[1], self._rows.shape[2]))

    def batch(self, step: int, rank: int, world: int) -> Batch:
        seed = derive(self._seed, "inpainting", step)
        picked = np.random.default_rng(seed).integers(0, self._rows.shape[0], self._batch)
        _, height, width, channels = self._rows.shape
        drawn = draw_views(self._views, len(picked), (channels, height, width), torch.Generator().manual_seed(seed))
        mine = share_of(len(picked), rank, world)
        pictures = torch.from_numpy(np.ascontiguousarray(self._rows.take(picked[mine]).transpose(0, 3, 1, 2)))
        return {"pictures": pictures, **{name: value[mine] for name, value in drawn.items()}}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        whole = batch["pictures"].float().div_(127.5).sub_(1.0)
        painted = module(see(dict(batch), whole).expand(-1, 3, -1, -1))
        target = plain(whole.expand(-1, 3, -1, -1))
        # Ranks' parts may differ by a picture: each weighs as many as it has.
        weight = len(whole) * ranks.world / self._batch
        return {"loss": F.l1_loss(painted, target) * weight}

    def export(self, module: nn.Module, folder: Path) -> Facts:
        from safetensors.torch import save_file

        encoder = module.encoder
        assert isinstance(encoder, nn.Module)
        save_file({name: value.contiguous().cpu() for name, value in encoder.state_dict().items()}, folder / ENCODER)
        return {}
