"""Re-identification: train the networks on the members, build their gallery, measure both detectors on strangers. Private."""

from pyarrow import Table

from pd.config import Settings
from pd.dataset.mapping import MapRows, RowFunction, map_here
from pd.dataset.private import PrivateDataset
from pd.engine.map_images import Mapper
from pd.engine.recognisers import Others, clear, recognisers
from pd.engine.shared_folder import in_bucket
from pd.engine.stream.make import Crew
from pd.filters.prepare import prepare
from pd.progress import Progress, Reporter, silent
from pd.reid.recipe import lineage
from pd.stages.base import Facts
from pd.stages.public import public_people
from pd.store.atomic import write_folder, write_json
from pd.store.context import Context

CALIBRATION, PUBLIC = "hold-out people, the half that calibrates", "public people"


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    real = PrivateDataset.open(run.dataset)
    work = run.work / "reid"
    others, whose = others_of(settings, real)
    networks = recognisers(real.members(), settings, work, context.reporter, others)
    mapper = Mapper(run.work / "gallery", Crew(0, settings.reid.gpus_per_worker, settings.address, "reid"), run, (run.dataset,))
    with write_folder(run.reid) as folder:
        # The networks lie in this folder, which other machines do not see where the run is in a bucket.
        map_rows = _shown(map_here if in_bucket(run.root) else mapper, context.reporter)
        found = prepare(real, networks, settings, folder, map_rows).verification
        if settings.reid.method is not None:
            write_json(folder / "lineage.json", lineage(settings.reid, whose))
    clear(work)
    mapper.done()
    if found.doubt:
        context.reporter.say(found.doubt)
    return {"holdout_auc": found.auc, "holdout_rank1": found.rank1, "members": len(set(real.members().identities))}


def _shown(map_rows: MapRows, reporter: Reporter) -> MapRows:
    """The same, with its progress shown under the first word of each work's name."""

    def shown(function: RowFunction, name: str, progress: Progress = silent) -> Table:
        with reporter.task(name.partition("-")[0]) as task:
            return map_rows(function, name, task)

    return shown


def others_of(settings: Settings, real: PrivateDataset) -> tuple[Others | None, str]:
    """Other people than the members, from whom g2d's encoder learns, and who they are in words; None where it is not asked for.

    Raises:
        UserError: public people who are private ones, or too few hold-out people.
    """
    if not any(method.name == "g2d" for method in settings.reid.methods):
        return None, ""
    public = public_people(settings, real)
    if public is not None:
        return public, PUBLIC
    return real.holdout_half("calibration", settings.seed), CALIBRATION
