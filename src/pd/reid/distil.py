"""A recogniser as the student of another one, by any of `pd.reid.methods`: one task for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pd.config import ReidSettings, digest_of
from pd.config.people import LAYOUT
from pd.config.recognisers import G2dSettings, MethodSettings, SupconSettings
from pd.errors import UserError
from pd.reid.augment import Draws, move
from pd.reid.methods.base import Seen, remaining
from pd.reid.methods.choose import criterion
from pd.reid.network import EmbeddingNetwork, build, load, save
from pd.reid.rows import Rows
from pd.reid.task import NOT_TRAINED, batch_of, people_of
from pd.reid.views import check_views, draw_views, see
from pd.seeds import derive
from pd.training.ranks import share_of, shares
from pd.training.task import Batch, Facts, Ranks, Task

CLASSES = "classes.safetensors"


@dataclass(frozen=True)
class Start:
    """Weights of an encoder to begin with.

    Attributes:
        folder: where they are: `encoder.safetensors`, or a recogniser of the backbone `generative`.
        digest: of them.
    """

    folder: Path
    digest: str


class Student(nn.Module):
    """What is trained: the recogniser, and what its criterion learns beside it."""

    def __init__(self, network: EmbeddingNetwork, criterion_: nn.Module) -> None:
        super().__init__()
        self.network, self.criterion = network, criterion_


class Distilled(Task):
    """A network that learns from a teacher's embeddings of clear pictures what it sees of them in other views.

    A batch is as `pd.reid.task.Contrast` draws it: people x pictures. The teacher need not be at hand: its embeddings are.

    Args:
        rows: the pixels, (N, H, W, C) uint8.
        identities: N names.
        targets: (N, e) float32, the teacher's unit rows.
        settings: backbone, steps and batch.
        method: one that distils.
        seed: new weights, batches and views follow from it.
        fingerprint: of the pixels.
        start: of g2d.

    Raises:
        UserError: fewer than two identities, or a resolution above the pictures'.
    """

    def __init__(
        self,
        rows: Rows,
        identities: Sequence[str],
        targets: NDArray[np.float32],
        settings: ReidSettings,
        method: MethodSettings,
        seed: int,
        fingerprint: str,
        start: Start | None = None,
    ) -> None:
        if isinstance(method, SupconSettings):
            raise ValueError("supcon has no teacher")
        self._who, self._people = people_of(identities)
        check_views(method.views, min(rows.shape[1:3]), f"reid.method.{method.name}.views")
        self._rows, self._settings, self._method, self._seed, self._start = rows, settings, method, seed, start
        self._targets = np.ascontiguousarray(targets, np.float32)
        if len(self._targets) != len(self._who) or not np.isfinite(self._targets).all():
            raise UserError(
                "the teacher gave no embedding of a picture",
                code="learned-nothing",
                where="reid.teacher",
                fix="name another one",
            )
        self._identities = min(settings.identities_per_batch, len(self._people))
        held = settings.model_dump(mode="json", exclude={*LAYOUT, *NOT_TRAINED, "method", "teacher"})
        self.key = digest_of(
            {
                "reid": held,
                "method": method.model_dump(mode="json"),
                "people": self._who.tolist(),
                "pixels": fingerprint,
                "targets": sha256(self._targets.tobytes()).hexdigest(),
                "seed": seed,
                "shape": list(rows.shape),
                "start": start.digest if start else "",
            }
        )

    def build(self) -> nn.Module:
        network = build(self._settings.model_copy(update=self._backbone()), self._seed)
        if self._start is not None:
            _begin(network, self._start.folder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self._seed, "criterion"))
            return Student(network, criterion(self._method, self._settings.dim, self._centres()))

    def batch(self, step: int, rank: int, world: int) -> Batch:
        seed = derive(self._seed, "distil", step)
        rows = batch_of(self._people, np.random.default_rng(seed), self._identities, self._settings.images_per_identity)
        _, height, width, channels = self._rows.shape
        chance = torch.Generator().manual_seed(seed)
        drawn = draw_views(self._method_views(), len(rows), (channels, height, width), chance) | _moves(len(rows), chance)
        mine = share_of(len(rows), rank, world)
        pictures = torch.from_numpy(np.ascontiguousarray(self._rows.take(rows[mine]).transpose(0, 3, 1, 2)))
        whole = {"who": torch.from_numpy(self._who[rows]), "targets": torch.from_numpy(self._targets[rows])}
        return {"pictures": pictures, **whole, **{name: value[mine] for name, value in drawn.items()}}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        assert isinstance(module, Student)
        pictures = batch["pictures"].float().div_(127.5).sub_(1.0)
        moved = move(pictures, **{name: batch[name] for name in ("degrees", "scale", "shift", "mirror")})
        own = module.network(see(dict(batch), moved).expand(-1, 3, -1, -1))
        student = ranks.gather(own, shares(len(batch["who"]), ranks.world))
        chance = torch.Generator().manual_seed(derive(self._seed, "criterion", step))
        seen = Seen(batch["targets"], student, batch["who"], remaining(step, self._settings.steps), chance)
        found: Mapping[str, Tensor] = module.criterion(seen)
        return found

    def export(self, module: nn.Module, folder: Path) -> Facts:
        from safetensors.torch import save_file

        assert isinstance(module, Student)
        save(module.network, folder)
        classes = module.criterion.get_submodule("classes")
        save_file({"directions": classes.state_dict()["directions"].contiguous().cpu()}, folder / CLASSES)
        return {}

    def _method_views(self) -> tuple[str, ...]:
        assert not isinstance(self._method, SupconSettings)
        return self._method.views

    def _backbone(self) -> dict[str, object]:
        if isinstance(self._method, G2dSettings):
            return {"backbone": "reformed" if self._method.reformer else "generative", "weights": None, "freeze": False}
        return {}

    def _centres(self) -> Tensor:
        """(K, e) the teacher's mean embedding of each person."""
        return torch.from_numpy(np.stack([self._targets[rows].mean(axis=0) for rows in self._people]))


def _moves(n: int, chance: torch.Generator) -> Draws:
    """Small moves: the teacher's embedding is of the picture as it is. All numbers are ours."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=chance)

    return {
        "degrees": uniform(-8, 8),
        "scale": torch.exp(uniform(-0.15, 0.08)),
        "shift": torch.stack([uniform(-0.08, 0.08), uniform(-0.08, 0.08)], 1),
        "mirror": torch.rand(n, generator=chance) < 0.5,
    }


def _begin(network: EmbeddingNetwork, folder: Path) -> None:
    """Fill the encoder of a generative backbone."""
    from safetensors.torch import load_file

    from pd.reid.methods.g2d import ENCODER, Generative

    backbone = network.backbone
    assert isinstance(backbone, Generative)
    if (folder / ENCODER).is_file():
        backbone.encoder.load_state_dict(load_file(folder / ENCODER))
    else:
        found = load(folder).backbone
        assert isinstance(found, Generative)
        backbone.encoder.load_state_dict(found.encoder.state_dict())
