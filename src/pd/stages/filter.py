"""Filter: find the thresholds on hold-out people, decide on every candidate, and hand the kept ones to the release."""

from dataclasses import asdict

from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.filters.apply import apply_filter
from pd.filters.calibration import find_thresholds, read_measurements, unkept
from pd.stages.base import Context, Facts
from pd.stages.prompts import prompts_of
from pd.store.atomic import write_json


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    measured = read_measurements(run.reid)
    thresholds = find_thresholds(measured, settings.reid.calibration, settings.filter)
    for line in unkept(measured, settings.reid.calibration, settings.filter):
        context.reporter.say(f"  {line}")
    with context.reporter.task("filter") as progress:
        counts = apply_filter(
            run.generated,
            run.candidates,
            thresholds,
            settings.filter,
            prompts=prompts_of(PrivateDataset.read_words(run.dataset), settings).texts,
            kept=run.data,
            progress=progress,
        )
    if not counts["kept"]:
        raise UserError(
            f"the filter dropped all {counts['candidates']} candidates",
            where="reid.calibration, filter",
            fix="generate more candidates, or choose a higher quantile",
        )
    how = {"reid": settings.filter.reid, "vote": settings.filter.vote}
    write_json(run.filter_counts, {**counts, **how, "thresholds": asdict(thresholds)})
    return counts
