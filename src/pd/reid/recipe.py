"""The trainings that make one recogniser by a method, in their order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pd.config import ReidSettings
from pd.config.recognisers import CrrcdSettings, G2dSettings, MethodSettings, SupconSettings
from pd.reid.distil import Distilled, Start
from pd.reid.methods.g2d import Inpainter
from pd.reid.rows import Rows
from pd.reid.task import Recogniser, training_settings
from pd.reid.teachers import CLASSES, open_teacher, origin, trained
from pd.training.digest import training_digest
from pd.training.task import Task

Fit = Callable[[Task], Path]
"""Trains a task, or finds it finished; gives the folder that it was exported to."""


@dataclass(frozen=True)
class Pictures:
    """What is learned from.

    Attributes:
        rows: the pixels.
        identities: who is in each.
        fingerprint: of the pixels.
    """

    rows: Rows
    identities: Sequence[str]
    fingerprint: str


def make(
    method: MethodSettings,
    settings: ReidSettings,
    people: Pictures,
    seed: int,
    fit: Fit,
    *,
    teacher_seed: int | None = None,
    others: Pictures | None = None,
) -> Path:
    """Train a recogniser.

    Args:
        method: how.
        settings: backbone, steps (of each training) and batch; `teacher`.
        people: whom it learns to tell apart.
        seed: new weights, batches and views follow from it.
        fit: trains.
        teacher_seed: of the teacher that is trained first; None: as `seed`.
        others: pictures of other people, for g2d's inpainting; None: of these people themselves.

    Returns:
        A folder that `pd.reid.network.load` reads.

    Raises:
        UserError: too few people, a teacher that cannot be read, a training that diverged.
    """
    if isinstance(method, SupconSettings):
        return fit(Recogniser(people.rows, people.identities, settings, seed, people.fingerprint))
    plain = seed if teacher_seed is None else teacher_seed
    if settings.teacher == CLASSES:
        clear = CrrcdSettings(views=("clear",), knowledge=0.0, weight=0.0)  # cross-entropy, and nobody's embeddings
        nobody = np.zeros((people.rows.shape[0], 1), np.float32)
        first = Distilled(people.rows, people.identities, nobody, settings, clear, plain, people.fingerprint)
        teacher = trained(fit(first), "own")
    elif settings.teacher is not None:
        teacher = open_teacher(settings.teacher)
    else:
        teacher = trained(fit(Recogniser(people.rows, people.identities, settings, plain, people.fingerprint)), "own")
    targets = teacher.targets(people.rows)

    def distilled(how: MethodSettings, start: Start | None = None) -> Distilled:
        return Distilled(people.rows, people.identities, targets, settings, how, seed, people.fingerprint, start)

    if not isinstance(method, G2dSettings):
        return fit(distilled(method))
    painted_of = others or people
    batch = settings.identities_per_batch * settings.images_per_identity
    hidden = tuple(view for view in method.views if view != "clear") or method.views
    inpainter = Inpainter(
        painted_of.rows, hidden, seed, painted_of.fingerprint, batch, training_digest(training_settings(settings))
    )
    begun = fit(inpainter)
    tuning = distilled(method.model_copy(update={"reformer": False, "relation": 0.0}), Start(begun, inpainter.key))
    tuned = fit(tuning)
    if not method.reformer:
        return tuned
    return fit(distilled(method, Start(tuned, tuning.key)))


def lineage(settings: ReidSettings, others: str) -> dict[str, object]:
    """Where the networks' knowledge comes from besides the people whom they tell apart.

    Args:
        settings: of the networks.
        others: in words, whose pictures an inpainting encoder learned from.
    """
    teacher = {"name": "trained on the same people"} if settings.teacher is None else origin(settings.teacher)
    found: list[dict[str, object]] = []
    for method in settings.methods:
        beside = {} if isinstance(method, SupconSettings) else {"teacher": teacher}
        painted = {"encoder": others} if isinstance(method, G2dSettings) else {}
        found.append({"method": method.model_dump(mode="json"), **beside, **painted})
    return {"networks_of_each": settings.networks, "methods": found}
