"""Re-identification as a task of the trainer: the supervised contrastive loss over the global batch."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pd.config import ReidSettings, digest_of
from pd.config.people import LAYOUT
from pd.config.training import TrainingSettings
from pd.errors import UserError
from pd.reid.augment import draw, view
from pd.reid.methods.supcon import supervised_contrastive
from pd.reid.network import build, save
from pd.reid.rows import Rows
from pd.training.ranks import share_of, shares
from pd.training.task import Batch, Facts, Ranks, Task

WEIGHT_DECAY = 0.05
WARMUP = 0.05
NOT_TRAINED = {
    "calibration",
    "networks",
    "spaces",
    "method",
    "teacher",
}  # keys of the settings that are no matter of one network's training


def training_settings(settings: ReidSettings) -> TrainingSettings:
    """How the networks are trained."""
    return TrainingSettings(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        weight_decay=WEIGHT_DECAY,
        warmup=WARMUP,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
        workers=settings.workers,
        gpus_per_worker=settings.gpus_per_worker,
    )


class Contrast(Task):
    """An embedding network that learns identities, with augmented copies as positives (methods, step 3).

    A batch is identities x views. The views of an identity are of as many of its images as fill half of them, and then of
    the same images again under another augmentation: so every view has a copy of its own image among its positives, and an
    identity with a single image learns from its copies alone. Ranks take parts of the batch; their embeddings are gathered.

    Args:
        rows: the pixels, (N, H, W, C) uint8.
        identities: N names.
        seed: batches and augmentations follow from it.
        identities_per_batch: at most; all of them when there are fewer.
        images_per_identity: views of each identity, at least 2.

    Raises:
        UserError: fewer than two identities.
    """

    key = ""

    def __init__(
        self, rows: Rows, identities: Sequence[str], seed: int, identities_per_batch: int, images_per_identity: int
    ) -> None:
        self._who, self._people = people_of(identities)
        self._rows, self._seed = rows, seed
        self._identities, self._views = min(identities_per_batch, len(self._people)), images_per_identity
        self._begin()

    def batch(self, step: int, rank: int, world: int) -> Batch:
        if step < self._next:
            self._begin()
        while self._next < step:  # a resumed training: chance is one stream, as long as the training
            self._draw(pictures=self._next >= self._drawn)
        rows, drawn = self._draw()
        mine = share_of(len(rows), rank, world)
        pictures = torch.from_numpy(np.ascontiguousarray(self._rows.take(rows[mine]).transpose(0, 3, 1, 2)))
        return {"pictures": pictures, "who": torch.from_numpy(self._who[rows]), **{k: v[mine] for k, v in drawn.items()}}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        pictures = batch["pictures"].float().div_(127.5).sub_(1.0)
        # Grey is repeated to three channels after the augmentation, which costs a third of the work that way.
        views = view(dict(batch), pictures).expand(-1, 3, -1, -1)
        embeddings = ranks.gather(module(views), shares(len(batch["who"]), ranks.world))
        return {"loss": supervised_contrastive(embeddings, batch["who"])}

    def rate(self, settings: TrainingSettings, step: int) -> float:
        """Linear warm-up from one part of the peak, then a cosine down to a hundredth of it."""
        return _rates(settings.learning_rate, settings.steps)[step]

    def extra_state(self) -> Mapping[str, Tensor]:
        return {"generator": self._generator.get_state(), "drawn": torch.tensor(self._next)}

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        self._begin()
        self._drawn = int(state["drawn"])  # the pictures' chance goes on from here; that of the rows is drawn again, in no time
        self._generator.set_state(state["generator"])

    def _begin(self) -> None:
        self._chance = np.random.default_rng([self._seed, 1])
        self._generator = torch.Generator().manual_seed(self._seed)
        self._next = self._drawn = 0

    def _draw(self, pictures: bool = True) -> tuple[NDArray[np.int64], dict[str, Tensor]]:
        """Rows and augmentations of the next step's global batch."""
        rows = batch_of(self._people, self._chance, self._identities, self._views)
        self._next += 1
        _, height, width, channels = self._rows.shape
        return rows, draw(len(rows), (channels, height, width), self._generator) if pictures else {}

    def __getstate__(self) -> dict[str, object]:
        """Without what stands at some step: a generator cannot be pickled, and another process begins anew."""
        return {name: value for name, value in vars(self).items() if name not in ("_chance", "_generator", "_next", "_drawn")}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._begin()


class Recogniser(Contrast):
    """A network as the settings say, trained on these people.

    Args:
        rows: the pixels, (N, H, W, C) uint8.
        identities: N names.
        settings: backbone, batch and all that makes the network.
        seed: new weights, batches and augmentations follow from it.
        fingerprint: of the pixels.

    Raises:
        UserError: fewer than two identities.
    """

    def __init__(self, rows: Rows, identities: Sequence[str], settings: ReidSettings, seed: int, fingerprint: str) -> None:
        super().__init__(rows, identities, seed, settings.identities_per_batch, settings.images_per_identity)
        self._settings = settings
        held = settings.model_dump(mode="json", exclude={*LAYOUT, *NOT_TRAINED})
        self.key = digest_of(
            {"reid": held, "people": self._who.tolist(), "pixels": fingerprint, "seed": seed, "shape": list(rows.shape)}
        )

    def build(self) -> nn.Module:
        """What `pd.reid.network.build` gives. Raises UserError as it does."""
        return build(self._settings, self._seed)

    def export(self, module: nn.Module, folder: Path) -> Facts:
        save(module, folder)  # type: ignore[arg-type]
        return {}


@lru_cache(maxsize=8)
def _rates(peak: float, steps: int) -> list[float]:
    """The learning rates of all steps, as torch's schedulers have them to the last bit."""
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=peak)
    warmup = max(1, round(WARMUP * steps))
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimiser,
        [
            torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warmup, total_iters=warmup),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps - warmup), eta_min=0.01 * peak),
        ],
        [warmup],
    )
    found = []
    for _ in range(steps):
        found.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        schedule.step()
    return found


def people_of(identities: Sequence[str]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Who is in each of N images, (N,) 0..K-1 in the order of names, and the images of each.

    Raises:
        UserError: fewer than two identities.
    """
    _, who = np.unique(np.asarray(identities, dtype=str), return_inverse=True)
    people = [np.flatnonzero(who == k) for k in range(who.max() + 1 if len(who) else 0)]
    if len(people) < 2:
        raise UserError(
            f"{len(people)} identities to learn from",
            code="too-few-people",
            where="re-identification",
            fix="give images of two people or more",
        )
    return who, people


def batch_of(people: list[NDArray[np.int64]], chance: np.random.Generator, identities: int, views: int) -> NDArray[np.int64]:
    """Rows of one batch: each identity's images repeated in turn until there are `views` of them."""
    picked = chance.choice(len(people), identities, replace=False)
    rows = []
    for k in picked:
        own = chance.permutation(people[k])[: -(-views // 2)]
        rows.append(np.resize(own, views))
    return np.concatenate(rows)
