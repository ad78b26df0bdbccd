"""Fine-tuning a base: its parts trained, adapted or frozen, and resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bare_loop import bare_loop
from diffusers import StableDiffusionPipeline
from small_training import apart, resumed_at, settings, train, train_until, weights

pytestmark = pytest.mark.usefixtures("one_thread")


LORA = [
    {"adapter": "lora"},
    {"adapter": "lora", "train_text_encoder": "frozen", "gradient_checkpointing": True},
    {"train_unet": "frozen", "train_text_encoder": "lora"},
    {"train_unet": "frozen"},
    {"train_unet": "lora", "zero_stage": 3, "offload": "optimizer"},
]


@pytest.mark.parametrize("changes", LORA)
def test_parts_of_a_base_are_adapted_and_come_out_as_one_plain_model(
    tmp_path: Path, base: Path, changes: dict[str, Any]
) -> None:
    chosen = settings(steps=4, base=str(base), autoencoder="base", lora_rank=2, **changes)
    linear = torch.nn.functional.linear
    facts = train(tmp_path, chosen)
    assert torch.nn.functional.linear is linear  # which ZeRO 3 replaces while it trains
    found, before = weights(tmp_path / "out"), weights(base)
    assert apart(found, bare_loop(chosen)) < 1e-5
    moved = {name for name in found if not torch.equal(found[name], before[name])}
    trained = {"unet": chosen.unet_training, "text": chosen.text_encoder_training}
    projections = ("to_q.", "to_k.", "to_v.", "to_out.0.", "q_proj.", "k_proj.", "v_proj.", "out_proj.")
    for part, how in trained.items():
        mine = {name for name in moved if name.startswith(part)}
        assert bool(mine) == (how != "frozen")
        if how == "lora":
            assert all(name.endswith("weight") and any(word in name for word in projections) for name in mine)
    counted = sum(value.numel() for value in before.values())
    assert 0 < facts["parameters"] < counted
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a photo of a face", num_inference_steps=2).images[0].size == (32, 32)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"offload": "optimizer", "zero_stage": 2}, marks=pytest.mark.exhaustive),
        pytest.param({"offload": "optimizer", "zero_stage": 3}, marks=pytest.mark.exhaustive),
        pytest.param({"precision": "bf16"}, marks=pytest.mark.exhaustive),
    ],
)
def test_an_adapted_training_that_dies_goes_on(tmp_path: Path, base: Path, changes: dict[str, Any]) -> None:
    chosen = settings(base=str(base), autoencoder="base", adapter="lora", **changes)
    train(tmp_path / "whole", chosen)

    train_until(tmp_path / "cut", chosen, 3)
    train(tmp_path / "cut", chosen)
    assert resumed_at(tmp_path / "cut") == [2]
    assert apart(weights(tmp_path / "cut" / "out"), weights(tmp_path / "whole" / "out")) == 0.0
