"""Snapshots for who chooses among the steps: made on the way, without leaving a trace in the training."""

from pathlib import Path

import numpy as np

from pd.config import DataSettings, ModelSettings
from pd.diffusion.data import TrainingData
from pd.engine.training.train import train_model
from pd.store.files import digest_folder


def test_a_snapshot_at_each_checkpoint_and_the_same_model_in_the_end(tmp_path: Path) -> None:
    images = TrainingData(np.random.default_rng(0).integers(0, 256, (12, 32, 32, 1), np.uint8), ["a face"] * 12)
    plain = ModelSettings(unet="tiny", steps=5, batch=4, warmup=1, workers=0, samples_every=0, checkpoint_every=2)
    watched, found = plain.model_copy(update={"stop": "private"}), list[Path]()
    train_model(watched, DataSettings(), images, tmp_path / "a", tmp_path, 1, None, None, found)
    train_model(plain, DataSettings(), images, tmp_path / "b", tmp_path, 1)
    assert [folder.name for folder in found] == ["step_00000002", "step_00000004", "step_00000005"]
    assert digest_folder(tmp_path / "a") == digest_folder(tmp_path / "b") == digest_folder(found[-1])
    assert len({digest_folder(folder) for folder in found}) == 3
    again: list[Path] = []
    train_model(watched, DataSettings(), images, tmp_path / "a", tmp_path, 1, None, None, again)
    assert again == found
