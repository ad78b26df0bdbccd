"""Generate: sample the teacher with k-anonymous prompts, score every candidate against the members. Private."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pd.dataset.real import real_words
from pd.engine.machines import machines
from pd.engine.runtime import connect
from pd.engine.stream.candidates import generate
from pd.engine.stream.shards import Shard
from pd.filters.calibration import find_thresholds, read_measurements
from pd.filters.captions import prompts_of
from pd.filters.decide import Preview, preview
from pd.filters.prompts import Prompts
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
    thresholds = find_thresholds(read_measurements(run.reid), settings.reid.calibration, settings.filter)
    shown = partial(preview, settings=settings.filter, thresholds=thresholds)
    facts = sample(context, prompts, run.generated, "candidates", shown)
    return {**facts, "prompts": len(prompts.texts), "captions_not_prompts": prompts.dropped_captions}


def sample(
    context: Context,
    prompts: Prompts,
    out: Path,
    task: str,
    preview: Preview | None = None,
    besides: Sequence[Shard] | None = None,
) -> Facts:
    """Candidates of the run's teacher, on its cluster: see `pd.engine.stream.candidates.generate`."""
    run, settings = context.run, context.settings
    connect(settings.address, run)
    with (
        context.reporter.task(task) as progress,
        machines(settings.cluster, settings.generate.workers, settings.generate.gpus_per_worker, progress),
    ):
        return generate(
            teacher=run.teacher,
            reid=run.reid,
            gallery=run.reid,
            prompts=prompts,
            settings=settings.generate,
            seed=context.seed("generate"),
            mode=settings.data.mode,
            out=out,
            address=settings.address,
            progress=progress,
            preview=preview,
            besides=besides,
        )
