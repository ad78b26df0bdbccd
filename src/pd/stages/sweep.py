"""Sweep: search the thresholds on cached scores, and choose under the rule that the settings state. Private."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pd.config import Settings, digest_of
from pd.dataset.private import PrivateDataset
from pd.dataset.real import real_images
from pd.dataset.synthetic import SyntheticDataset
from pd.engine.full_trials import full_trials
from pd.engine.sweep import run_grid
from pd.filters.calibration import read_measurements
from pd.filters.captions import prompts_of
from pd.seeds import derive
from pd.stages.graph import SWEEP
from pd.store.context import Context
from pd.store.lineage import read_record
from pd.store.run import Run
from pd.sweep.cached import Cached
from pd.sweep.crossfit import CrossFit, words_of
from pd.sweep.judge import Judge, Views
from pd.sweep.result import Result, conclude
from pd.sweep.trial import Trial, choices, draw_trials, without_effect
from pd.sweep.usefulness import Usefulness
from pd.sweep.views import read_views, write_views


def execute(context: Context) -> Result:
    """Run the sweep and write `private/sweep/`.

    Raises:
        UserError: too few hold-out people, or what a trial raised. Not where no trial keeps the constraints: `Result.keeps`.
    """
    run, settings, say = context.run, context.settings, context.reporter.say
    begin = time.monotonic()
    work = (run.work / "sweep" / _name(run, settings)).absolute()  # workers stand elsewhere
    real = real_images(run, settings)
    people = words_of(real, settings.seed)
    for line in (people, *without_effect(settings)):
        say(f"  {line}")
    judge, crossfit = _prepare(context, real, work)
    if settings.filter.near_duplicate is not None:
        say("  near-duplicates are left to the filter: fewer candidates will be kept than trials say")
    trials = draw_trials(settings)
    with context.reporter.task("trials") as progress:
        figures = run_grid(
            cheap_trial,
            judge,
            [asdict(trial) for trial in trials],
            work,
            cpus=settings.sweep.cpus_per_trial,
            address=settings.address,
            progress=progress,
        )
    rows = [
        {"number": number, "kind": "cheap", "steps": None, **asdict(trial), **found}
        for number, (trial, found) in enumerate(zip(trials, figures, strict=True))
    ]
    facts: dict[str, Any] = {"people": people, "candidates": len(judge.cached), "attacked": len(judge.seen)}
    if crossfit:
        more, facts["searcher"] = full_trials(context, judge, crossfit, rows, work)
        rows += more
        say(f"  full trials were proposed by {facts['searcher']}, after the best cheap ones")
    facts["seconds"] = round(time.monotonic() - begin, 1)
    return conclude(rows, settings, facts, run.sweep)


def cheap_trial(judge: Judge, config: Mapping[str, Any], rung: int) -> dict[str, Any]:
    """What a worker does: one trial on cached scores."""
    return judge(Trial(**config))


def _prepare(context: Context, real: PrivateDataset, work: Path) -> tuple[Judge, CrossFit | None]:
    """Fit attackers, let them look at candidates once, and read the scores; the attackers themselves where students follow."""
    run, settings = context.run, context.settings
    files = sorted(run.generated.glob("*.parquet"))
    members = real.members()
    cached = Cached.read(files, dict(zip(members.ids, members.identities, strict=True)))
    draw = np.random.default_rng(derive(settings.seed, "sweep", "seen")).permutation(len(cached))
    seen = np.sort(draw[: settings.sweep.samples])
    samples = SyntheticDataset.open(files).take(seen)
    asked = settings.sweep
    views: Views | None = read_views(work)
    crossfit = None
    if views is None or asked.full:
        with context.reporter.task("attackers") as progress:
            crossfit = CrossFit.fit(real, settings.audit, asked.resamples, settings.seed, progress)
    if views is None:
        assert crossfit
        views = crossfit.look(samples.images)
        write_views(views, work)
    learns = real.holdout_half("calibration", settings.seed)
    usefulness = Usefulness.learn(
        samples.images, samples.labels, learns, resamples=asked.resamples, seed=derive(settings.seed, "sweep", "utility")
    )
    judge = Judge(
        settings=settings,
        measured=read_measurements(run.reid),
        prompts={k: _prompts(real, settings, k) for k in choices(settings, full=False)["prompt_k"]},
        cached=cached,
        seen=seen,
        views=views,
        usefulness=usefulness,
        seed=derive(settings.seed, "sweep", "interval"),
    )
    return judge, crossfit if asked.full else None


def _prompts(real: PrivateDataset, settings: Settings, k: int) -> frozenset[str]:
    generate = settings.generate.model_copy(update={"prompt_k": k})
    return frozenset(prompts_of(real, settings.model_copy(update={"generate": generate})).texts)


def _name(run: Run, settings: Settings) -> str:
    """The folder of a sweep: equal names mean equal figures of equal trials, so that finished ones need not be run again."""
    records = {need: record.outputs for need in SWEEP.needs if (record := read_record(run.record(need)))}
    told = settings.model_dump(mode="json", exclude={"name", "runs", "address", "tracking", "teacher", "student"})
    judged = {key: told["sweep"][key] for key in ("samples", "resamples")}
    return digest_of([records, {**told, "sweep": judged}])
