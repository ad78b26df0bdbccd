"""Student: train on kept candidates and nothing else; it is what is released."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pd.audit.samples import sample_model
from pd.dataset.real import real_words
from pd.dataset.synthetic import SyntheticDataset
from pd.engine.machines import machines_for
from pd.engine.runtime import connect
from pd.engine.train_student import train_student
from pd.engine.training.stopped import stopped_trainings
from pd.filters.calibration import read_measurements
from pd.filters.captions import prompts_of
from pd.filters.scorer import Scorer
from pd.filters.student_stop import choose, look, strangers_dropped, would_drop
from pd.release.verify import write_lineage
from pd.stages.base import Facts
from pd.stages.filter import thresholds_in
from pd.stages.student_data import student_data
from pd.store.atomic import write_folder
from pd.store.context import Context

LOOKED_AT = 512  # samples at a checkpoint; ours: a share is known to 4 in 100


def take_private(context: Context, snapshots: Sequence[Path], out: Path) -> dict[str, Any]:
    """Put the last student into `out` that the filter takes for no more of the members than strangers' pictures.

    Args:
        context: of a run whose filter is done.
        snapshots: the student at each checkpoint, a diffusers folder each whose name ends with the step, in order.
        out: the folder for the released student; what is in it gives way.

    Returns:
        `stopped_at`: the step; `would_drop`: at each checkpoint [step, share, low, high]; `strangers_dropped`.
    """
    run, settings = context.run, context.settings
    measured = read_measurements(run.reid)
    thresholds = thresholds_in(run)
    strangers = strangers_dropped(measured, settings.filter, thresholds)
    scorer, prompts = Scorer(run.reid, run.reid), prompts_of(real_words(run, settings), settings)
    few = settings.model_copy(update={"audit": settings.audit.model_copy(update={"samples": LOOKED_AT})})
    looks = []
    for folder in snapshots:
        step = int(folder.name.rpartition("_")[2])
        with context.reporter.task(f"samples of step {step}") as progress:
            samples = sample_model(folder, prompts, few, context.seed("student", "stop"), progress)
        looks.append(look(step, would_drop(scorer.score(samples.images[:]), settings.filter, thresholds)))
        context.reporter.say(f"  step {step}: the filter would drop {looks[-1].dropped:.1%} (strangers: {strangers:.1%})")
        if looks[-1].low > strangers:
            break
    taken = choose(looks, strangers)
    for part in out.iterdir():
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    shutil.copytree(snapshots[taken], out, dirs_exist_ok=True)
    if looks[0].low > strangers:
        context.reporter.say("  already the first checkpoint is above strangers; it is taken, for there is no earlier one")
    figures = [[one.step, round(one.dropped, 4), round(one.low, 4), round(one.high, 4)] for one in looks]
    return {"stopped_at": looks[taken].step, "would_drop": figures, "strangers_dropped": round(strangers, 4)}


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    for line in stopped_trainings(run.work / "student", settings.student):
        context.reporter.say(f"  {line}")
    connect(settings.address, run)
    with (
        write_folder(run.student) as folder,
        context.reporter.task("student") as progress,
        machines_for(settings.cluster, settings.student, progress),
    ):
        kept = SyntheticDataset.open(run.kept)
        snapshots: list[Path] | None = [] if settings.student.stop == "private" else None
        facts = train_student(
            kept,
            settings.student,
            settings.data,
            folder,
            run.work / "student",
            context.seed("student"),
            progress,
            settings.tracking,
            snapshots,
        )
        if snapshots:
            facts = {**facts, **take_private(context, snapshots, folder)}
        write_lineage(folder, settings.student, run.kept)
    if settings.release.data == "student":
        facts = {**facts, **student_data(context, len(kept))}
    return facts
