"""Teacher: train a diffusion model on the members' images, or take one that was trained elsewhere. Private."""

from pathlib import Path

from pd.config import ModelSettings
from pd.dataset.private import PrivateDataset
from pd.dataset.real import real_images, real_words
from pd.diffusion.data import TrainingData
from pd.engine.machines import machines_for
from pd.engine.runtime import connect
from pd.engine.training.generalise import LookedAt, words
from pd.engine.training.stopped import stopped_trainings
from pd.engine.training.train import train_model
from pd.filters.captions import captions_of
from pd.filters.report_phrases import report_prompts
from pd.stages.base import Facts
from pd.store.atomic import write_folder
from pd.store.context import Context


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    if settings.teacher.trained is not None:
        from pd.diffusion.elsewhere import take  # brings diffusers

        with write_folder(run.teacher) as folder:
            return take(settings.teacher.trained, settings.data, folder)
    members = real_words(run, settings).members()
    captions = captions_of(members, settings)
    changed = sum(old != new for old, new in zip(members.captions, captions, strict=True))
    if changed:
        context.reporter.say(f"  {changed} captions are shared by too few people, or say nothing: made general, or from labels")
    if settings.data.caption == "report":
        said = report_prompts(members.captions, members.identities, settings.generate.prompt_k, settings.data.generic)
        context.reporter.say(
            f"  of the reports' phrases {len(said.kept)} are shared by enough people, {said.lost} are left out"
        )
    return train(context, settings.teacher, "teacher", run.teacher, captions)


def train(context: Context, model: ModelSettings, name: str, out: Path, captions: list[str]) -> Facts:
    """Train on the members.

    Args:
        context: of a run whose images are read.
        model: how.
        name: of the folder for checkpoints, and on the terminal.
        out: becomes a diffusers folder.
        captions: of the members' images.
    """
    run, settings = context.run, context.settings
    for line in stopped_trainings(run.work / name, model):
        context.reporter.say(f"  {line}")
    connect(settings.address, run)
    with (
        write_folder(out) as folder,
        context.reporter.task(name) as progress,
        machines_for(settings.cluster, model, progress),
    ):
        facts = train_model(
            model,
            settings.data,
            TrainingData(PrivateDataset.member_images(run.dataset), captions),
            folder,
            run.work / name,
            context.seed("teacher"),
            progress,
            settings.tracking,
            looked_at=LookedAt.of(real_images(run, settings), settings) if model.stop == "generalises" else None,
        )
    if "stopped_at" in facts:
        context.reporter.say(f"  {name}: taken is {words(facts['stopped_at'], facts.get('remembers_at'), model.steps)}")
    return facts
