"""Shadows and losses on tiny models, in this process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pd.audit.figures import measured, why_not
from pd.audit.model_attacks import infer_membership, known_captions
from pd.audit.results import ModelAttacks
from pd.config import Settings, parse_settings
from pd.dataset.private import PrivateDataset
from pd.diffusion.components import build
from pd.diffusion.export import export
from pd.engine.shadows import shadow_models
from pd.progress import Reporter
from pd.store.context import Context
from pd.store.run import Run

SETTINGS: dict[str, Any] = {
    "data": {"size": 16},
    "teacher": {"unet": "tiny", "steps": 2, "batch": 4, "warmup": 0, "workers": 0},
    "audit": {"shadows": 2, "samples": 10, "bootstrap": 50},
    "generate": {"prompt_k": 2},
}


@pytest.fixture
def real() -> PrivateDataset:
    """Eight people of three pictures; half of them members."""
    rng = np.random.default_rng(0)
    identities = [f"p{row // 3}" for row in range(24)]
    captions = ["a photo of a face"] * 12 + ["a photo of a face"] * 6 + ["a photo of a face with a hat"] * 6
    images = rng.integers(0, 256, (24, 16, 16, 1), dtype=np.uint8)
    splits = ["member"] * 12 + ["holdout"] * 12
    return PrivateDataset([f"i{row}" for row in range(24)], images, identities, splits, captions, {})  # type: ignore[arg-type]


def context(folder: Path, settings: Settings) -> Context:
    return Context(settings, Run(folder / "run"), Reporter())


def test_every_arm_has_both_attacks_and_finished_shadows_are_not_trained_again(
    real: PrivateDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = parse_settings(SETTINGS)
    model = tmp_path / "model"
    export(build(settings.teacher, settings.data, seed=1), model)
    where = context(tmp_path, settings)
    models = {"teacher": model, "filtered": model}
    found = infer_membership(where, real, models, shadows=shadow_models(where, real))
    assert set(found) == {"teacher", "filtered"}
    _check(found["teacher"], "online")
    _check(found["filtered"], "offline")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("pd.engine.training.train._train_here", refuse)
    assert infer_membership(where, real, models, shadows=shadow_models(where, real)) == found


def _check(found: ModelAttacks, variant: str) -> None:
    loss, ratio = measured(found.loss), measured(found.likelihood_ratio)
    assert loss
    assert ratio
    assert (ratio.shadows, ratio.variant) == (2, variant)
    for attack in (loss, ratio):
        assert (attack.members, attack.holdout) == (10, 10)  # audit.samples
        assert attack.auc
        assert 0 <= attack.auc.low <= attack.auc.value <= attack.auc.high <= 1
        assert "10 hold-out images" in why_not(attack.tpr_at_1)


def test_without_shadows_there_is_the_loss_alone(real: PrivateDataset, tmp_path: Path) -> None:
    settings = parse_settings(SETTINGS, ["audit.shadows=0"])
    model = tmp_path / "model"
    export(build(settings.teacher, settings.data, seed=1), model)
    found = infer_membership(context(tmp_path, settings), real, {"teacher": model})["teacher"]
    assert found.model_fields_set == {"loss"}


def test_hold_out_captions_that_no_model_knows_become_the_generic_one(real: PrivateDataset) -> None:
    texts = known_captions(real, parse_settings(SETTINGS))
    assert texts["i0"] == texts["i12"] == "a photo of a face"
    assert texts["i23"] == "a photo of a person"
