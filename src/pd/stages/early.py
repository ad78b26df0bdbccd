"""Early: the teacher stopped before it remembers, an arm to compare with: would that have done as well? Private."""

from pd.dataset.real import real_words
from pd.filters.captions import captions_of
from pd.stages.base import Facts
from pd.stages.teacher import train
from pd.store.context import Context


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    model = settings.teacher.model_copy(update={"stop": "generalises"})
    return train(context, model, "early", run.arm("early"), captions_of(real_words(run, settings).members(), settings))
