"""A student that has learned a member's picture by heart, trained and sampled as any other, is caught by extraction."""

from pathlib import Path

import numpy as np
import pytest

from pd.audit.extraction import extract
from pd.config import DataSettings, ModelSettings
from pd.dataset.private import PrivateDataset
from pd.diffusion.data import TrainingData
from pd.diffusion.sampler import Sampler
from pd.engine.training.train import train_model

SEED = 7


@pytest.mark.exhaustive
def test_a_student_that_memorised_a_picture_is_caught(orl: PrivateDataset, tmp_path: Path) -> None:
    members, strangers = orl.members(), orl.holdout()
    learned = TrainingData(np.repeat(members.images[5:6], 4, axis=0), ["a photo of a face"] * 4)
    chosen = ModelSettings(
        unet="tiny", workers=0, steps=1200, batch=8, learning_rate=3e-3, train_text_encoder="frozen", ema=0.9, samples_every=0
    )
    train_model(chosen, DataSettings(), learned, tmp_path / "model", tmp_path / "work", SEED)
    sampler = Sampler(tmp_path / "model", mode="grey", batch=24)
    samples = sampler.sample(range(24), ["a photo of a face"] * 24, seed=SEED, steps=12, guidance=1.0)
    found = extract(
        samples,
        ["a photo of a face"] * 24,
        members.images,
        members.identities,
        strangers.images,
        strangers.identities,
        bootstrap=200,
        seed=1,
    )
    assert found.images == 1
    assert found.extracted.value > 0.3
    assert found.copies.excess.low > 0.2
