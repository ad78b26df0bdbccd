"""Re-identification: train the network on the members, build their gallery, measure both detectors on strangers. Private."""

from pd.dataset.private import PrivateDataset
from pd.filters.calibration import measure, write_measurements
from pd.filters.gallery import build_gallery
from pd.reid.network import save
from pd.reid.train import train
from pd.stages.base import Context, Facts
from pd.store.atomic import write_folder


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    real = PrivateDataset.read(run.dataset)
    members = real.members()
    with context.reporter.task("network") as progress:
        network = train(members.images, members.identities, settings.reid, context.seed("reid"), progress)
    with write_folder(run.reid) as folder:
        save(network, folder)
        build_gallery(network, members, folder)
        measured = measure(network, folder, real, context.settings.seed)
        write_measurements(measured, folder)
    found = measured.verification
    return {"holdout_auc": found.auc, "holdout_rank1": found.rank1, "members": len(set(members.identities))}
