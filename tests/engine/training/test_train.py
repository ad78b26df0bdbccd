"""Training: the engine against a bare torch loop, what comes out, and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bare_loop import bare_loop
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from small_training import DATA, SEED, apart, pictures, settings, train, weights
from torch import Tensor, nn

from pd.diffusion import autoencoder
from pd.diffusion.components import build
from pd.diffusion.data import TrainingData
from pd.engine.training.definition import name_of
from pd.engine.training.engine import TrainEngine
from pd.engine.training.train import train_model
from pd.errors import UserError
from pd.seeds import derive

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch": 4},
        {"autoencoder": "train", "train_text_encoder": "frozen", "flip": True, "ema": 0.0, "caption_dropout": 0.5},
        {"prediction": "epsilon", "zero_terminal_snr": False, "min_snr_gamma": None, "clip_norm": 0.01},
        {"noise_offset": 0.1, "gradient_checkpointing": True},
        {"noise_offset": 3.0, "min_snr_gamma": None, "clip_norm": 1000.0},
        {"offload": "optimizer", "zero_stage": 1, "micro_batch": 4},
        {"offload": "optimizer", "zero_stage": 2, "micro_batch": "auto"},
        {"offload": "optimizer", "zero_stage": 3, "train_text_encoder": "frozen"},
    ],
)
def test_it_trains_as_a_bare_torch_loop_does(tmp_path: Path, changes: dict[str, Any]) -> None:
    chosen = settings(steps=4, **changes)
    facts = train(tmp_path, chosen)
    assert apart(weights(tmp_path / "out"), bare_loop(chosen)) < 1e-5
    assert facts["steps"] == 4
    assert 0 < facts["loss"] < 10
    assert facts["images_per_s"] > 0


@pytest.mark.exhaustive
def test_a_compiled_unet_trains_the_same_weights(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    train(tmp_path, settings(compile="on"))
    assert apart(weights(tmp_path / "out"), whole) < 1e-4


@pytest.mark.exhaustive
def test_a_compiled_unet_is_compiled_once_however_many_captions_a_step_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        compiled.append(graph)
        return graph.forward

    def compile_and_count(self: nn.Module, **how: Any) -> None:
        nn.Module.compile(self, backend=count, **how)

    monkeypatch.setattr(UNet2DConditionModel, "compile", compile_and_count)
    torch.compiler.reset()
    train(tmp_path, settings(compile="on", batch=3))
    seen = len(compiled)
    torch.compiler.reset()
    train(tmp_path / "one", settings(compile="on", batch=3, steps=1))
    assert 0 < seen == len(compiled) - seen


def test_bf16_stays_near_fp32(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    train(tmp_path, settings(precision="bf16"))
    distance = apart(weights(tmp_path / "out"), whole)
    assert 0 < distance < 0.02


def test_a_frozen_text_encoder_and_an_autoencoder_of_its_own_are_exported_as_they_are(tmp_path: Path) -> None:
    chosen = settings(steps=2, train_text_encoder="frozen", autoencoder="train")
    train(tmp_path, chosen)
    fitted = autoencoder.train(pictures().images)
    fresh = build(chosen, DATA, derive(SEED, "weights"), fitted)
    for part, module, file in (
        ("text_encoder", fresh.text_encoder, "model.safetensors"),
        ("vae", fitted, "diffusion_pytorch_model.safetensors"),
    ):
        found = load_file(tmp_path / "out" / part / file)
        assert all(torch.equal(found[name], value) for name, value in module.state_dict().items())


def test_captions_that_are_too_long_are_refused_or_cut_and_counted(tmp_path: Path) -> None:
    images = pictures()
    long = TrainingData(images.images, [*images.captions[:2], "word " * 100, "word " * 90, *images.captions[4:]])

    def trained(name: str, **changes: Any) -> dict[str, Any]:
        return train_model(settings(steps=1, **changes), DATA, long, tmp_path / name, tmp_path / "work", SEED)

    with pytest.raises(UserError, match=r"training image 2, .*: 2 of 12 captions have more than 77 tokens"):
        trained("refused")
    assert trained("cut", truncate_captions=True)["truncated_captions"] == 2


def test_divergence_stops_with_the_step_and_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"diverged.*step \d.*(checkpoint)") as caught:
        train(tmp_path, settings(learning_rate=1e25, warmup=0, schedule="constant", clip_norm=1e9))
    assert caught.value.where == "learning_rate = 1e+25"
    assert not (tmp_path / "out").exists()


def test_a_training_that_does_not_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(TrainEngine, "micro_step", full)
    with pytest.raises(UserError, match="does not fit into the GPU's memory"):
        train(tmp_path, settings())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 9, "workers": 2}, "9 does not divide among 2 workers"),
        ({"micro_batch": 3}, "do not divide into micro-batches of 3"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(tmp_path, settings(**changes))
    assert not (tmp_path / "work").exists()


def test_no_images_are_refused(tmp_path: Path) -> None:
    nothing = TrainingData(np.zeros((0, 32, 32, 1), np.uint8), [])
    with pytest.raises(UserError, match="no images"):
        train_model(settings(), DATA, nothing, tmp_path / "out", tmp_path / "work", SEED)


def test_a_training_that_was_given_up_does_not_begin_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(workers=1)
    folder = (tmp_path / "work").resolve() / name_of(chosen, DATA, pictures(), SEED)
    monkeypatch.setattr("pd.engine.training.follow._GIVEN_UP", {folder})
    with pytest.raises(UserError, match="start a new process"):
        train(tmp_path, chosen)
