"""Re-identification: train the networks on the members, build their gallery, measure both detectors on strangers. Private."""

from pd.dataset.mapping import map_here
from pd.dataset.private import PrivateDataset
from pd.engine.map_images import Mapper
from pd.engine.recognisers import clear, recognisers
from pd.engine.shared_folder import in_bucket
from pd.engine.stream.make import Crew
from pd.filters.prepare import prepare
from pd.stages.base import Facts
from pd.store.atomic import write_folder
from pd.store.context import Context


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    real = PrivateDataset.open(run.dataset)
    work = run.work / "reid"
    networks = recognisers(real.members(), settings, work, context.reporter)
    mapper = Mapper(run.work / "gallery", Crew(0, settings.reid.gpus_per_worker, settings.address, "reid"), run, (run.dataset,))
    with write_folder(run.reid) as folder:
        # The networks lie in this folder, which other machines do not see where the run is in a bucket.
        map_rows = map_here if in_bucket(run.root) else mapper
        found = prepare(real, networks, settings, folder, map_rows).verification
    clear(work)
    mapper.done()
    if found.doubt:
        context.reporter.say(found.doubt)
    return {"holdout_auc": found.auc, "holdout_rank1": found.rank1, "members": len(set(real.members().identities))}
