"""All that the filter needs before it sees a candidate: its networks, the members' gallery, and what strangers score."""

from collections.abc import Sequence
from pathlib import Path

from pd.config import Settings
from pd.dataset.mapping import MapRows, map_here
from pd.dataset.private import PrivateDataset
from pd.filters.calibration import Measurements, measure, write_measurements
from pd.filters.families import ALTERED, learn_spaces
from pd.filters.gallery import build_gallery
from pd.reid.network import EmbeddingNetwork, save_all


def prepare(
    real: PrivateDataset,
    networks: Sequence[EmbeddingNetwork],
    settings: Settings,
    folder: Path,
    map_rows: MapRows = map_here,
) -> Measurements:
    """Learn the spaces, build the members' gallery, and measure networks and spaces on hold-out people.

    Args:
        real: members and hold-out people.
        networks: trained on the members.
        settings: of the run; `reid` and `seed` count.
        folder: gets the networks, the gallery and the measurements; private.
        map_rows: learns spaces, computes the gallery's rows and scores strangers; by default this process.

    Raises:
        UserError: too few people on one side.
    """
    save_all(networks, folder)
    spaces = learn_spaces(settings.reid.spaces, real, settings.seed, map_rows)
    build_gallery(networks, real.members(), folder, spaces, map_rows, altered=ALTERED in settings.reid.spaces)
    measured = measure(folder, real, settings.seed, map_rows)
    write_measurements(measured, folder)
    return measured
