"""Models that several tests of training share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_training import DATA, settings, train, weights
from torch import Tensor

from pd.diffusion import export
from pd.diffusion.components import build


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, and Adam makes much of small differences in its first steps."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of an uninterrupted run in this process."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, settings())
    return weights(folder / "out")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model to fine-tune."""
    folder = tmp_path_factory.mktemp("base") / "model"
    export.export(build(settings(), DATA, 3), folder)
    return folder
