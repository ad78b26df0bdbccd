"""All that the filter needs before it sees a candidate: its networks, the members' gallery, and what strangers score."""

from pathlib import Path

from pd.config import Settings
from pd.dataset.private import PrivateDataset
from pd.filters.calibration import Measurements, measure, write_measurements
from pd.filters.families import learn_spaces
from pd.filters.gallery import build_gallery
from pd.progress import Reporter
from pd.reid.network import save_all
from pd.reid.train import train
from pd.seeds import derive


def prepare(real: PrivateDataset, settings: Settings, folder: Path, reporter: Reporter) -> Measurements:
    """Train the re-identification networks on the members, learn the spaces and measure all of them on hold-out people.

    Args:
        real: members and hold-out people.
        settings: of the run; `reid` and `seed` count.
        folder: gets the networks, the gallery and the measurements; private.
        reporter: shows the training.

    Raises:
        UserError: too few people on one side.
    """
    members, count = real.members(), settings.reid.networks
    networks = []
    for k in range(count):
        with reporter.task(f"network {k + 1} of {count}" if count > 1 else "network") as progress:
            seed = derive(settings.seed, "reid", *([k] if k else []))
            networks.append(train(members.images, members.identities, settings.reid, seed, progress))
    save_all(networks, folder)
    spaces = learn_spaces(settings.reid.spaces, real, settings.seed)
    build_gallery(networks, members, folder, spaces)
    measured = measure(networks, folder, real, settings.seed)
    write_measurements(measured, folder)
    return measured
