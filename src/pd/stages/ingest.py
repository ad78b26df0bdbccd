"""Ingest: read the private images, set bad ones aside or stop, split identities into members and hold-out."""

from pd.dataset.ingest import ingest
from pd.stages.base import Context, Facts
from pd.store.atomic import write_folder


def execute(context: Context) -> Facts:
    run, data = context.run, context.settings.data
    with write_folder(run.dataset) as folder, context.reporter.task("images") as progress:
        report = ingest(data, context.seed("split"), folder, progress)
    for line in report.lines():
        context.reporter.say(f"  {line}")
    return report.facts()
