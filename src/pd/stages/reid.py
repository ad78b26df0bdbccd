"""Re-identification: train the networks on the members, build their gallery, measure both detectors on strangers. Private."""

from pd.dataset.private import PrivateDataset
from pd.filters.prepare import prepare
from pd.stages.base import Context, Facts
from pd.stages.recognisers import clear, recognisers
from pd.store.atomic import write_folder


def execute(context: Context) -> Facts:
    run = context.run
    real = PrivateDataset.read(run.dataset)
    work = run.work / "reid"
    networks = recognisers(real.members(), context.settings, work, context.reporter)
    with write_folder(run.reid) as folder:
        found = prepare(real, networks, context.settings, folder).verification
    clear(work)
    return {"holdout_auc": found.auc, "holdout_rank1": found.rank1, "members": len(set(real.members().identities))}
