"""Filter: find the thresholds on hold-out people, decide on every candidate, and hand the kept ones to the release."""

import json
from dataclasses import asdict
from pathlib import Path

from pd.config import FilterSettings, Settings
from pd.dataset.real import real_words
from pd.errors import UserError
from pd.filters.apply import apply_filter
from pd.filters.calibration import find_thresholds, read_measurements, unkept
from pd.filters.captions import prompts_of
from pd.filters.decide import Thresholds
from pd.filters.leak_quantile import Chosen, Row, choose
from pd.stages.base import Facts
from pd.store.atomic import write_json
from pd.store.context import Context
from pd.store.run import Run


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    filters, thresholds, chosen = decided_by(context)
    if chosen is not None:
        context.reporter.say(f"  {chosen.words}")
    for line in unkept(read_measurements(run.reid), settings.reid.calibration, filters):
        context.reporter.say(f"  {line}")
    with context.reporter.task("filter") as progress:
        counts = apply_filter(
            files_in(run, settings),
            run.candidates,
            thresholds,
            filters,
            prompts=prompts_of(real_words(run, settings), settings).texts,
            kept=run.kept,
            progress=progress,
        )
    if not counts["kept"]:
        raise UserError(
            f"the filter dropped all {counts['candidates']} candidates",
            code="nothing-kept",
            where="reid.calibration, filter",
            fix="generate more candidates, or choose a higher quantile",
        )
    if chosen is not None:
        counts |= {"family_quantile": chosen.quantile, "target_reached": chosen.reached}
    how = {"reid": settings.filter.reid, "vote": settings.filter.vote}
    write_json(run.filter_counts, {**counts, **how, "thresholds": asdict(thresholds)})
    return counts


def decided_by(context: Context) -> tuple[FilterSettings, Thresholds, Chosen | None]:
    """How candidates are decided on: the checks, their thresholds, and what generated leaks ask for, if anything."""
    run, settings = context.run, context.settings
    filters, chosen = settings.filter, _chosen(context)
    if chosen is not None:
        filters = filters.model_copy(update={"family_quantile": chosen.quantile})
    return filters, find_thresholds(read_measurements(run.reid), settings.reid.calibration, filters), chosen


def files_in(run: Run, settings: Settings) -> list[Path]:
    """The shards of all candidates in the order of ids, those made besides, too."""
    found = sorted(run.generated.glob("*.parquet"))
    if settings.generate.tops_up:
        used = json.loads((run.topped_up / "used.json").read_text(encoding="utf-8"))
        found += [run.topped_up / f"{name}.parquet" for name in used]
    return found


def thresholds_in(run: Run) -> Thresholds:
    """The thresholds that the run's filter was done with."""
    return Thresholds.from_json(json.loads(run.filter_counts.read_text(encoding="utf-8"))["thresholds"])


def _chosen(context: Context) -> Chosen | None:
    """What generated leaks ask for; None where they were not made, or where nothing of them is kept at any quantile."""
    found = json.loads(context.run.leaks.read_text(encoding="utf-8"))
    if "rows" not in found:
        return None
    return choose([Row.of(row) for row in found["rows"]], context.settings.filter.target_excess)
