"""The bundled faces."""

import pytest

from pd.config import DataSettings
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset


@pytest.fixture(scope="session")
def orl(tmp_path_factory: pytest.TempPathFactory) -> PrivateDataset:
    """The ORL faces at 32 px, split by seed 7."""
    folder = tmp_path_factory.mktemp("faces")
    ingest(DataSettings(), 7, folder)
    return PrivateDataset.read(folder)
