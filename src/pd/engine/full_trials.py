"""Full trials of a sweep: a short student learns from what a trial keeps, and is attacked as the candidates were."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pd.audit.samples import sample_model
from pd.config import Settings, digest_of
from pd.dataset.real import real_words
from pd.dataset.synthetic import SyntheticDataset
from pd.engine.machines import machines
from pd.engine.runtime import connect
from pd.engine.stream.candidates import generate
from pd.engine.sweep import climb
from pd.engine.train_student import train_student
from pd.filters.calibration import find_thresholds
from pd.filters.captions import prompts_of
from pd.filters.decide import preview
from pd.filters.prompts import Prompts
from pd.progress import silent
from pd.seeds import derive
from pd.store.context import Context
from pd.store.kept import at_hand, discard
from pd.sweep.cached import Cached
from pd.sweep.crossfit import CrossFit
from pd.sweep.judge import Judge, figures_of
from pd.sweep.leak import leak
from pd.sweep.rule import Constraint, choose, merit, pareto
from pd.sweep.trial import Trial, choices

Row = dict[str, Any]
_FIRST_STEPS = 10  # warm-up at most a tenth of them, so that the shortest student learns at all


@dataclass(frozen=True, eq=False)
class Course:
    """What full trials share.

    Attributes:
        judge: decides what is kept.
        crossfit: the attackers.
        pools: guidance -> files of candidates made with it, and their scores.
        prompts: k -> what students are asked for.
        folder: for trainings.
    """

    judge: Judge
    crossfit: CrossFit
    pools: Mapping[float, tuple[tuple[Path, ...], Cached]]
    prompts: Mapping[int, Prompts]
    folder: Path


def rungs(settings: Settings) -> list[int]:
    """Steps of each student of a trial: twice as many on each rung, `sweep.steps` on the last."""
    asked = settings.sweep
    return sorted({max(1, asked.steps >> k) for k in range(asked.rungs)})


def full_trials(context: Context, judge: Judge, crossfit: CrossFit, cheap: Sequence[Row], work: Path) -> tuple[list[Row], str]:
    """Run them, the best cheap trials first.

    Args:
        context: of the sweep.
        judge: of the cheap trials.
        crossfit: its attackers.
        cheap: the finished cheap trials.
        work: the sweep's folder.

    Returns:
        A row for each student that was trained, and the searcher in words.
    """
    settings, asked = context.settings, context.settings.sweep
    named = choices(settings, full=True)
    told = settings.model_dump(mode="json", include={"student": True, "sweep": True})
    rule = {key: value for key, value in told["sweep"].items() if key not in ("trials", "full")}
    folder = work / f"full-{digest_of([told['student'], rule])}"
    course = Course(
        judge=judge,
        crossfit=crossfit,
        pools={scale: _pool(context, judge, scale, max(named["candidates"]), work) for scale in named["guidance"]},
        prompts={k: _prompts(context, k) for k in named["prompt_k"]},
        folder=folder,
    )
    connect(settings.address)
    # Ray Tune asks for the machines of all trials, once there is one for the first, and while one is at work.
    with (
        context.reporter.task("students") as progress,
        machines(settings.cluster, 1, asked.gpus_per_trial, progress, asked.cpus_per_trial),
    ):
        found, searcher = climb(
            full_trial,
            course,
            {"reid_quantile": asked.reid_quantile, "near_copy_quantile": asked.near_copy_quantile, **named},
            _best(cheap, settings),
            folder / "trials",
            trials=asked.full,
            steps=rungs(settings),
            cpus=asked.cpus_per_trial,
            gpus=asked.gpus_per_trial,
            seed=derive(settings.seed, "sweep", "full"),
            address=settings.address,
            progress=progress,
        )
    numbers: dict[str, int] = {}
    rows = []
    for one in found:
        number = numbers.setdefault(digest_of(one["config"]), len(numbers))
        rows.append({"number": number, "kind": "full", **asdict(Trial(**one["config"])), **one["figures"]})
    return rows, searcher


def full_trial(course: Course, config: Mapping[str, Any], rung: int) -> dict[str, Any]:
    """What a worker does: train the student of one rung, from the start and in this process, and measure it.

    Each rung is a training of its own, with a schedule that ends where it ends: to go on from the rung before would compare
    students in the middle of theirs. In all that is less than twice the last one.
    """
    trial = Trial(**config)
    settings = trial.apply(course.judge.settings)
    files, cached = course.pools[trial.guidance]
    cached = cached.first(trial.candidates)
    keep = course.judge.keep(trial, cached)
    steps = rungs(settings)[rung]
    figures = figures_of(cached, keep, None, None)
    if keep.any():
        place = course.folder / "students" / digest_of([dict(config), steps])
        for folder in {file.parent for file in files}:
            at_hand(folder)
        kept = SyntheticDataset.open(files).take(np.flatnonzero(keep))
        short = {"steps": steps, "warmup": min(settings.student.warmup, steps // _FIRST_STEPS)}
        here = {"workers": 0, "samples_every": 0}
        student = settings.student.model_copy(update=short | here)
        (place / "model").mkdir(parents=True, exist_ok=True)
        train_student(kept, student, settings.data, place / "model", place / "work", derive(settings.seed, "student"), silent)
        seed = derive(settings.seed, "sweep", "samples")
        made = sample_model(place / "model", course.prompts[trial.prompt_k], settings, seed, silent)
        discard(place)
        judge = course.judge
        leaked = leak(course.crossfit.look(made.images), np.ones(len(made), dtype=bool), judge.seed)
        useful = judge.usefulness.of_images(made.images, made.labels) if judge.usefulness else None
        figures = figures_of(cached, keep, leaked, useful)
    constraints = [Constraint.parse(text) for text in settings.sweep.constraints]
    return {**figures, "steps": steps, "merit": merit(figures, constraints, settings.sweep.prefer)}


def _best(cheap: Sequence[Row], settings: Settings) -> list[Row]:
    """Where to begin: the cheap trial that would be chosen, then the rest of the Pareto set by what it keeps."""
    asked = settings.sweep
    first = choose(cheap, [Constraint.parse(text) for text in asked.constraints], asked.prefer, asked.objectives).index
    best = [row for row, is_best in zip(cheap, pareto(cheap, asked.objectives), strict=True) if is_best]
    ordered = [cheap[first], *sorted((row for row in best if row is not cheap[first]), key=lambda row: -row["kept"])]
    names = Trial.__dataclass_fields__
    # The settings as they are have no quantile of re-identification where they are calibrated otherwise; searchers need one.
    return [{name: row[name] for name in names} for row in ordered if row["reid_quantile"] is not None]


def _pool(context: Context, judge: Judge, guidance: float, candidates: int, work: Path) -> tuple[tuple[Path, ...], Cached]:
    """The candidates of one guidance scale: the run's own, or as many as are asked for, made now."""
    run, settings = context.run, context.settings
    if guidance == settings.generate.guidance and candidates <= len(judge.cached):
        return tuple(sorted(run.generated.absolute().glob("*.parquet"))), judge.cached
    trial = replace(Trial.of(settings), guidance=guidance, candidates=candidates)
    asked = trial.apply(settings)
    out = work / "pools" / f"guidance-{guidance:g}"
    real = real_words(run, settings)
    thresholds = find_thresholds(judge.measured, settings.reid.calibration, settings.filter)
    connect(settings.address)
    with (
        context.reporter.task(f"guidance {guidance:g}") as progress,
        machines(settings.cluster, asked.generate.workers, asked.generate.gpus_per_worker, progress),
    ):
        generate(
            teacher=run.teacher,
            reid=run.reid,
            gallery=run.reid,
            prompts=prompts_of(real, asked),
            settings=asked.generate,
            seed=context.seed("generate"),
            mode=settings.data.mode,
            out=out,
            address=settings.address,
            progress=progress,
            preview=partial(preview, settings=settings.filter, thresholds=thresholds),
        )
    files = tuple(sorted(out.glob("*.parquet")))
    members = real.members()
    return files, Cached.read(files, dict(zip(members.ids, members.identities, strict=True)))


def _prompts(context: Context, k: int) -> Prompts:
    settings = replace(Trial.of(context.settings), prompt_k=k).apply(context.settings)
    return prompts_of(real_words(context.run, context.settings), settings)
