"""Generate: sample the teacher with k-anonymous prompts, score every candidate against the members. Private."""

from functools import partial

from pd.dataset.real import real_words
from pd.engine.machines import machines
from pd.engine.runtime import connect
from pd.engine.stream.candidates import generate
from pd.filters.calibration import find_thresholds, read_measurements
from pd.filters.captions import prompts_of
from pd.filters.decide import preview
from pd.stages.base import Facts
from pd.store.context import Context


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    prompts = prompts_of(real_words(run, settings), settings)
    if prompts.dropped_images:
        context.reporter.say(
            f"  captions of {prompts.dropped_images} images are shared by fewer than {settings.generate.prompt_k} people "
            "and are no prompts"
        )
    connect(settings.address, run)
    thresholds = find_thresholds(read_measurements(run.reid), settings.reid.calibration, settings.filter)
    with (
        context.reporter.task("candidates") as progress,
        machines(settings.cluster, settings.generate.workers, settings.generate.gpus_per_worker, progress),
    ):
        facts = generate(
            teacher=run.teacher,
            reid=run.reid,
            gallery=run.reid,
            prompts=prompts,
            settings=settings.generate,
            seed=context.seed("generate"),
            mode=settings.data.mode,
            out=run.generated,
            address=settings.address,
            progress=progress,
            preview=partial(preview, settings=settings.filter, thresholds=thresholds),
        )
    return {**facts, "prompts": len(prompts.texts), "captions_not_prompts": prompts.dropped_captions}
