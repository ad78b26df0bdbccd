"""Samples of the student that pass the filter again: the data that privacy distillation means to release."""

from typing import Any

from pd.dataset.real import real_words
from pd.engine.stream.candidates import generate
from pd.errors import UserError
from pd.filters.apply import apply_filter
from pd.filters.captions import prompts_of
from pd.stages.filter import thresholds_in
from pd.store.context import Context


def student_data(context: Context, count: int) -> dict[str, Any]:
    """Sample the student as the teacher was sampled, score and filter the samples alike, and write what is kept.

    Args:
        context: of a run whose student is trained.
        count: samples; as many as it learned from.

    Returns:
        `sampled`, and how many `passed`.

    Raises:
        UserError: none passed.
    """
    run, settings = context.run, context.settings
    prompts = prompts_of(real_words(run, settings), settings)
    scored = run.work / "student_data"
    with context.reporter.task("student's samples") as progress:
        generate(
            teacher=run.student,
            reid=run.reid,
            gallery=run.reid,
            prompts=prompts,
            settings=settings.generate.model_copy(update={"candidates": count}),
            seed=context.seed("student", "data"),
            mode=settings.data.mode,
            out=scored / "scored",
            address=settings.address,
            progress=progress,
        )
    with context.reporter.task("filter") as progress:
        counts = apply_filter(
            scored / "scored",
            scored / "decided",
            thresholds_in(run),
            settings.filter,
            prompts=prompts.texts,
            kept=run.student_data,
            progress=progress,
        )
    if not counts["kept"]:
        raise UserError(
            f"the filter dropped all {count} samples of the student",
            code="nothing-kept",
            where="release.data",
            fix="set it to kept, or to none",
        )
    return {"sampled": count, "passed": counts["kept"]}
