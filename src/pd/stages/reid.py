"""Re-identification: train the networks on the members, build their gallery, measure both detectors on strangers. Private."""

from pd.dataset.private import PrivateDataset
from pd.filters.prepare import prepare
from pd.stages.base import Context, Facts
from pd.store.atomic import write_folder


def execute(context: Context) -> Facts:
    run = context.run
    real = PrivateDataset.open(run.dataset)
    with write_folder(run.reid) as folder:
        found = prepare(real, context.settings, folder, context.reporter).verification
    return {"holdout_auc": found.auc, "holdout_rank1": found.rank1, "members": len(set(real.members().identities))}
