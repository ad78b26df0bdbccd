"""Arms: the students that are trained for comparison and never released (methods: arms, always side by side). Private.

`unfiltered` learns from all candidates: distillation without a filter. `random_drop` learns from what is left when as many
as the filter dropped are dropped at random: it sees as many images as the released student, so that only the choice differs.
"""

import numpy as np
import pyarrow.parquet as pq

from pd.dataset.synthetic import SyntheticDataset
from pd.engine.machines import machines_for
from pd.engine.runtime import connect
from pd.engine.train_student import train_student
from pd.stages.base import Facts
from pd.store.atomic import write_folder
from pd.store.context import Context
from pd.store.run import Run


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    facts: dict[str, int] = {}
    if settings.audit.trained_arms:
        connect(settings.address, run)
    for arm in settings.audit.trained_arms:
        with (
            write_folder(run.arm(arm)) as folder,
            context.reporter.task(arm) as progress,
            machines_for(settings.cluster, settings.student, progress),
        ):
            images = candidates_of(run, arm, context.seed(arm))
            work = run.work / "arms" / arm
            # The released student's seed: all start from the same weights and see the same noise.
            seed = context.seed("student")
            train_student(images, settings.student, settings.data, folder, work, seed, progress, settings.tracking)
        facts[arm] = len(images)
    return facts


def candidates_of(run: Run, arm: str, seed: int) -> SyntheticDataset:
    """The arm's training images."""
    files = sorted(run.candidates.glob("*.parquet"))
    keep = np.concatenate([pq.read_table(file, columns=["keep"])["keep"].to_numpy() for file in files])
    everything = SyntheticDataset.open(files)
    if arm == "unfiltered":
        return everything
    return everything.take(np.sort(np.random.default_rng(seed).permutation(len(keep))[: int(keep.sum())]))
