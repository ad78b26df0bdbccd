"""PATE (arXiv 1610.05755, 1802.08908): teachers on disjoint people vote through noise, a student learns what they answer.

Teachers are trained side by side, each on its own people. They are asked about pictures that say nothing of anybody: noise, or
the public pictures of the section `public`. What is released follows from the noisy answers alone.
"""

import numpy as np

from pd.classifier.examples import Examples
from pd.classify.task import ClassifierTask
from pd.config.classifier import ClassifierSettings
from pd.dataset.images import Pixels
from pd.errors import UserError
from pd.seeds import derive


def teacher_tasks(held: Examples, settings: ClassifierSettings, seed: int, digest: str) -> list[ClassifierTask]:
    """A training for each part of the people.

    Args:
        held: the members.
        settings: how many teachers, and of which width.
        seed: of parts, weights and batches.
        digest: of the members' content.
    """
    found = []
    for number, rows in enumerate(held.parts(settings.teachers, seed)):
        inputs, targets = held.take(rows)
        found.append(
            ClassifierTask(
                inputs,
                targets,
                seed=derive(seed, "teacher", number),
                batch=min(settings.batch, len(rows)),
                width=settings.width,
                digest=f"{digest} {number} of {settings.teachers} {settings.teacher.model_dump_json()}",
            )
        )
    return found


def noise_pictures(count: int, shape: tuple[int, ...], seed: int) -> Pixels:
    """(count, H, W, C) uint8, every value of its own: what the ladder's first rung asks about."""
    return np.random.default_rng(derive(seed, "noise queries")).integers(0, 256, (count, *shape), dtype=np.uint8)


def public_pictures(pictures: Pixels, count: int, seed: int) -> Pixels:
    """So many of the public pictures, in an order that follows from the seed.

    Raises:
        UserError: there are too few.
    """
    if len(pictures) < count:
        raise UserError(
            f"{count} queries, and {len(pictures)} public pictures",
            code="too-few-images",
            where="classifier.queries",
            fix=f"ask {len(pictures)} or fewer, or add pictures to public.path",
        )
    return pictures[np.random.default_rng(derive(seed, "public queries")).permutation(len(pictures))[:count]]
