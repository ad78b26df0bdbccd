"""The networks that tell members apart, trained on one process, on workers, or side by side."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np

from pd.config import Settings
from pd.dataset.private import PrivateDataset
from pd.diffusion.data import TrainingData
from pd.engine.fit import fit
from pd.engine.fit_many import fit_many
from pd.engine.machines import machines
from pd.engine.runtime import connect
from pd.progress import Reporter
from pd.reid.network import EmbeddingNetwork, load
from pd.reid.rows import Held, PixelRows, Rows
from pd.reid.task import Recogniser, training_settings
from pd.seeds import derive
from pd.store.kept import discard


def recognisers(members: PrivateDataset, settings: Settings, work: Path, reporter: Reporter) -> list[EmbeddingNetwork]:
    """`reid.networks` networks of different seeds; a training that was stopped goes on, one that is finished is kept.

    One network is trained on `reid.workers` workers, or in this process; several side by side, or, where there is more than one
    worker, one after another.

    Args:
        members: whom they learn to tell apart.
        settings: of the run; `reid`, `seed`, `address` and `cluster` count.
        work: folder for checkpoints and pixels, on storage that all machines share; `clear` removes it.
        reporter: shows the training.

    Raises:
        UserError: fewer than two people, no such backbone or weights, a training that diverged, a cluster that is too small.
    """
    how, count = training_settings(settings.reid), settings.reid.networks
    fingerprint = TrainingData(members.images, members.identities).fingerprint()
    rows: Rows
    if count == 1 and not how.max_workers and isinstance(members.images, np.ndarray):
        rows = Held(members.images)
    else:
        rows = PixelRows.write(members.images, work / f"pixels-{fingerprint[:16]}")
    seeds = [derive(settings.seed, "reid", *([k] if k else [])) for k in range(count)]
    tasks = [Recogniser(rows, members.identities, settings.reid, seed, fingerprint) for seed in seeds]
    if how.max_workers or (count > 1 and settings.address):
        connect(settings.address)
    with reporter.task("network" if count == 1 else "networks") as progress:
        asked = machines(settings.cluster, how.min_workers, how.gpus_per_worker, progress) if how.max_workers else nullcontext()
        with asked:
            if count == 1:
                folders = [fit(tasks[0], how, work, progress)]
            else:
                folders = fit_many(tasks, how, work, progress, gpus=how.gpus_per_worker)
    return [load(folder) for folder in folders]


def clear(work: Path) -> None:
    """Remove what `recognisers` left there, once its networks are kept elsewhere."""
    discard(work, must=False)
