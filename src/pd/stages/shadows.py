"""Shadow models: teachers of other people, of which it is known who learned whom. Never sampled, never released."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pd.dataset.private import PrivateDataset
from pd.dataset.splits import hash_order
from pd.diffusion.data import TrainingData
from pd.engine.machines import machines_for
from pd.engine.runtime import connect
from pd.engine.training.train import train_model
from pd.stages.base import Context
from pd.stages.prompts import captions_of


def shadow_models(context: Context, real: PrivateDataset) -> Iterator[tuple[Path, set[str]]]:
    """`audit.shadows` models that are trained as the teacher is, each on half of all people, members and hold-out alike.

    They come in pairs, the second of which learns from those whom the first does not: each image is in half of the shadows.
    A training that is finished is kept under `work/shadows` and not repeated, and one that was stopped goes on.

    Yields:
        a diffusers folder, there until the next is asked for, and the identities that it learned from.
    """
    settings, work = context.settings, context.run.work / "shadows"
    work.mkdir(parents=True, exist_ok=True)
    if settings.teacher.max_workers:
        connect(settings.address)
    # A seed of its own for each, whatever the teacher's settings say, and no pictures for people.
    model = settings.teacher.model_copy(update={"seed": None, "samples_every": 0})
    for shadow in range(settings.audit.shadows):
        order = hash_order(real.identities, settings.seed, f"shadow pair {shadow // 2}")
        middle = len(order) // 2
        people = set(order[:middle] if shadow % 2 == 0 else order[middle:])
        half = real.where([identity in people for identity in real.identities])
        images = TrainingData(half.images, captions_of(half, settings))
        named = f"shadow {shadow + 1} of {settings.audit.shadows}"
        with tempfile.TemporaryDirectory(prefix="model-", dir=work) as folder:
            with context.reporter.task(named) as progress, machines_for(settings.cluster, model, progress):
                train_model(model, settings.data, images, Path(folder), work, context.seed("shadow", shadow), progress)
            yield Path(folder), people
