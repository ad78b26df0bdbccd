"""Filter: find the thresholds on hold-out people, decide on every candidate, and hand the kept ones to the release."""

import json
from dataclasses import asdict

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
    measured = read_measurements(run.reid)
    filters, chosen = settings.filter, _chosen(context)
    if chosen is not None:
        context.reporter.say(f"  {chosen.words}")
        filters = filters.model_copy(update={"family_quantile": chosen.quantile})
    thresholds = find_thresholds(measured, settings.reid.calibration, filters)
    for line in unkept(measured, settings.reid.calibration, filters):
        context.reporter.say(f"  {line}")
    with context.reporter.task("filter") as progress:
        counts = apply_filter(
            run.generated,
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
            where="reid.calibration, filter",
            fix="generate more candidates, or choose a higher quantile",
        )
    if chosen is not None:
        counts |= {"family_quantile": chosen.quantile, "target_reached": chosen.reached}
    how = {"reid": settings.filter.reid, "vote": settings.filter.vote}
    write_json(run.filter_counts, {**counts, **how, "thresholds": asdict(thresholds)})
    return counts


def thresholds_in(run: Run) -> Thresholds:
    """The thresholds that the run's filter was done with."""
    return Thresholds.from_json(json.loads(run.filter_counts.read_text(encoding="utf-8"))["thresholds"])


def _chosen(context: Context) -> Chosen | None:
    """What generated leaks ask for; None where they were not made, or where nothing of them is kept at any quantile."""
    found = json.loads(context.run.leaks.read_text(encoding="utf-8"))
    if "rows" not in found:
        return None
    return choose([Row.of(row) for row in found["rows"]], context.settings.filter.target_excess)
