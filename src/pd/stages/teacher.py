"""Teacher: train a diffusion model on the members' images. Private."""

from pd.dataset.private import PrivateDataset
from pd.diffusion.data import TrainingData
from pd.engine.runtime import connect
from pd.engine.train import train_model
from pd.stages.base import Context, Facts
from pd.store.atomic import write_folder


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    members = PrivateDataset.read(run.dataset).members()
    connect(settings.address)
    with write_folder(run.teacher) as folder, context.reporter.task("teacher") as progress:
        return train_model(
            settings.teacher,
            settings.data,
            TrainingData(members.images, members.captions),
            folder,
            run.work / "teacher",
            context.seed("teacher"),
            progress,
        )
