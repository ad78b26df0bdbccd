"""The networks that tell members apart, trained on one process, on workers, or side by side."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np

from pd.config import Settings
from pd.dataset.people import People
from pd.dataset.private import PrivateDataset
from pd.diffusion.data import TrainingData
from pd.engine.fit import fit
from pd.engine.fit_many import fit_many
from pd.engine.machines import machines
from pd.engine.runtime import connect
from pd.progress import Reporter
from pd.reid.network import EmbeddingNetwork, load
from pd.reid.recipe import Pictures, make
from pd.reid.rows import Held, PixelRows, Rows
from pd.reid.task import Recogniser, training_settings
from pd.seeds import derive
from pd.store.kept import discard

Others = PrivateDataset | People
"""Other people than those whom the networks tell apart."""


def recognisers(
    members: PrivateDataset, settings: Settings, work: Path, reporter: Reporter, others: Others | None = None
) -> list[EmbeddingNetwork]:
    """`reid.networks` networks of different seeds by each method; a stopped training resumes, a finished one is kept.

    One network is trained on `reid.workers` workers, or in this process; several side by side, or, where there is more than one
    worker or a method that distils, one after another.

    Args:
        members: whom they learn to tell apart.
        settings: of the run; `reid`, `seed`, `address` and `cluster` count.
        work: folder for checkpoints and pixels, on storage that all machines share; `clear` removes it.
        reporter: shows the training.
        others: other people, whose pictures g2d's inpainting learns from.

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
    if how.max_workers or (settings.reid.voters > 1 and settings.address):
        connect(settings.address)
    if settings.reid.method is not None:
        return _by_methods(Pictures(rows, members.identities, fingerprint), seeds, settings, work, reporter, others)
    with reporter.task("network" if count == 1 else "networks") as progress:
        asked = machines(settings.cluster, how.min_workers, how.gpus_per_worker, progress) if how.max_workers else nullcontext()
        with asked:
            if count == 1:
                folders = [fit(tasks[0], how, work, progress)]
            else:
                folders = fit_many(tasks, how, work, progress, gpus=how.gpus_per_worker)
    return [load(folder) for folder in folders]


def _by_methods(
    people: Pictures, seeds: list[int], settings: Settings, work: Path, reporter: Reporter, others: Others | None
) -> list[EmbeddingNetwork]:
    """The networks of all methods, one after another: of the first, then of the second."""
    how, reid, folders = training_settings(settings.reid), settings.reid, []
    asked = nullcontext()
    beside = None
    if others is not None and any(method.name == "g2d" for method in reid.methods):
        mark = TrainingData(others.images, list(others.identities)).fingerprint()
        beside = Pictures(PixelRows.write(others.images, work / f"pixels-{mark[:16]}"), others.identities, mark)
    with reporter.task("networks") as progress:
        if how.max_workers:
            asked = machines(settings.cluster, how.min_workers, how.gpus_per_worker, progress)  # type: ignore[assignment]
        with asked:
            for method in reid.methods:
                for seed in seeds:
                    folders.append(
                        make(
                            method,
                            reid,
                            people,
                            seed,
                            lambda task: fit(task, how, work, progress),
                            teacher_seed=seeds[0],
                            others=beside,
                        )
                    )
    return [load(folder) for folder in folders]


def clear(work: Path) -> None:
    """Remove what `recognisers` left there, once its networks are kept elsewhere."""
    discard(work, must=False)
