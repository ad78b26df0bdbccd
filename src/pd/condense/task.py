"""One loop for all ways to condense: the pictures of one class are what is trained.

The classes of a step share nothing but the networks they are looked at through, and those follow from the seed. So each
class is a training of its own: classes run side by side, and the result does not depend on how many at a time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pd.classify.inputs import Inputs
from pd.condense import augment
from pd.condense.formation import packed, parts, refuse_odd
from pd.condense.networks import build, in_units, prepared
from pd.config import digest_of
from pd.dataset.images import encode_png
from pd.errors import UserError
from pd.seeds import derive
from pd.training.ranks import Ranks, share_of, shares
from pd.training.task import Batch, Facts, Task

RESULT = "pictures.safetensors"


class Pictures(nn.Module):
    """The stored pictures of a class, (N, C, S, S) float32 in [0, 1], as a parameter."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images)


class CondenseTask(Task):
    """Pictures of one class that random networks cannot tell from the real ones.

    Subclasses say what is compared (`distance`) and through which network (`encoder`).

    Args:
        inputs: the real pictures of the class, (N, S, S, C) uint8.
        classes: how many there are.
        number: of this class, from 0.
        mean, deviation: (C,) of all pictures in [0, 1].
        count: stored pictures.
        factor: parts a side of each (`formation`).
        batch: real pictures a step.
        width: of the networks.
        seed: everything follows from it.
        digest: of the content of the inputs and of how it is trained, for `key`.
        show_every: steps between two sheets of the pictures under the training's folder; 0: none.

    Raises:
        UserError: fewer real pictures than asked for, or a side that the factor does not divide.
    """

    name: ClassVar[str]
    fresh: ClassVar[int] = 1
    watch = "no"

    def __init__(
        self,
        inputs: Inputs,
        *,
        classes: int,
        number: int,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        count: int = 10,
        factor: int = 2,
        batch: int = 128,
        width: int = 128,
        seed: int = 0,
        digest: str = "",
        show_every: int = 0,
    ) -> None:
        first = inputs.take(np.zeros(1, np.int64))
        _, side, _, channels = first.shape
        refuse_odd(side, factor)
        if len(inputs) < count:
            raise UserError(
                f"class {number} has {len(inputs)} pictures, {count} are asked for",
                code="too-few-images",
                where="condense.per_class",
                fix="ask for fewer, or keep more candidates",
            )
        self.inputs, self.classes, self.number, self.count, self.factor = inputs, classes, number, count, factor
        self.size, self.width, self.seed, self.show_every = min(batch, len(inputs)), width, seed, show_every
        self.side, self.channels = side, channels
        self.mean, self.deviation = torch.tensor(mean), torch.tensor(deviation)
        self.key = digest_of(
            [self.name, digest, classes, number, mean, deviation, count, factor, self.size, width, seed, *self.besides()]
        )
        self._network: tuple[int, nn.Module] | None = None
        self._sheets: Path | None = None

    def besides(self) -> list[object]:
        """What else a subclass's result depends on, for `key`."""
        return []

    def distance(self, real: Tensor, made: Tensor) -> Tensor:
        """What is minimised, of (N, d) and (M, d) features."""
        raise NotImplementedError

    def encoder(self, step: int) -> nn.Module:
        """The network that this step looks through, frozen: one of random weights, a new one every `fresh` steps."""
        drawn = step // self.fresh
        if self._network is None or self._network[0] != drawn:
            network = build("convnet", self.classes, self.channels, self.side, self.width, derive(self.seed, "net", drawn))
            self._network = (drawn, network.requires_grad_(False))
        return self._network[1]

    def prepare(self, work: Path) -> None:
        self._sheets = work / "sheets" if self.show_every else None

    def build(self) -> nn.Module:
        chance = np.random.default_rng(derive(self.seed, "first", self.number))
        wanted = self.count * self.factor**2
        rows = np.resize(chance.permutation(len(self.inputs)), wanted)  # again from the start where there are fewer
        return Pictures(packed(self._pixels(rows), self.factor))

    def batch(self, step: int, rank: int, world: int) -> Batch:
        chance = np.random.default_rng(derive(self.seed, "real", self.number, step))
        rows = chance.choice(len(self.inputs), self.size, replace=False)
        return {"real": self._pixels(rows[share_of(self.size, rank, world)])}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        assert isinstance(module, Pictures)
        change = augment.draw(torch.Generator().manual_seed(derive(self.seed, "change", self.number, step)))
        network = self.encoder(step).to(batch["real"].device)
        with torch.no_grad():
            real = self._seen(network, batch["real"], change)
        real = ranks.gather(real, shares(self.size, ranks.world))
        made = self._seen(network, parts(module.images, self.factor), change)
        found = self.distance(real, made)
        extra = self.extra(module, change, step)
        return {"loss": found if extra is None else found + extra, "distance": found.detach()}

    def extra(self, module: Pictures, change: augment.Change, step: int) -> Tensor | None:
        """What is added to the distance; None: nothing."""
        return None

    def after_step(self, module: nn.Module, step: int) -> None:
        assert isinstance(module, Pictures)
        with torch.no_grad():
            module.images.clamp_(0, 1)
        if self._sheets is not None and (step + 1) % self.show_every == 0:
            self._sheets.mkdir(exist_ok=True)
            (self._sheets / f"step-{step + 1:06d}.png").write_bytes(encode_png(_strip(whole(module.images))))

    def export(self, module: nn.Module, folder: Path) -> Facts:
        assert isinstance(module, Pictures)
        made = torch.from_numpy(whole(module.images))
        save_file({"pictures": made}, folder / RESULT)
        return {"class": self.number, "method": self.name, "factor": self.factor}

    def standard(self, images: Tensor) -> Tensor:
        """Pictures as networks take them."""
        return prepared(images, self.mean.to(images.device), self.deviation.to(images.device))

    def _seen(self, network: nn.Module, images: Tensor, change: augment.Change) -> Tensor:
        features: Tensor = network.embed(augment.apply(self.standard(images), change))  # type: ignore[operator]
        return features

    def _pixels(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """(n, C, S, S) float32 in [0, 1]."""
        values = np.ascontiguousarray(self.inputs.take(rows))
        return in_units(torch.from_numpy(values)).contiguous()


def whole(images: Tensor) -> npt.NDArray[np.uint8]:
    """(N, C, S, S) in [0, 1] -> (N, S, S, C) uint8."""
    found: npt.NDArray[np.uint8] = (
        images.detach().cpu().mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    )
    return found


def _strip(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pictures side by side, (H, N W, C)."""
    return np.concatenate(list(pictures), axis=1)
