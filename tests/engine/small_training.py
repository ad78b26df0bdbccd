"""A training of seconds in this process, and what it leaves."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event
from torch import Tensor

from pd.config import DataSettings, ModelSettings, TrackingSettings
from pd.diffusion.data import TrainingData
from pd.engine.training.train import train_model

DATA = DataSettings()
SEED = 7
LONG = {"steps": 40, "checkpoint_every": 5, "batch": 16}  # lasts long enough to be killed in the middle
CAPTIONS = ["a photo of a face", "a photo of a face with glasses", "a photo of a face with a beard"]


def settings(**changes: Any) -> ModelSettings:
    """Six steps of eight images with a tiny UNet."""
    small = {"unet": "tiny", "steps": 6, "batch": 8, "warmup": 2, "checkpoint_every": 2, "ema": 0.9, "workers": 0}
    return ModelSettings.model_validate(small | changes)


def pictures() -> TrainingData:
    rng = np.random.default_rng(0)
    return TrainingData(rng.integers(0, 256, (12, 32, 32, 1), dtype=np.uint8), [CAPTIONS[row % 3] for row in range(12)])


def train(
    folder: Path,
    chosen: ModelSettings,
    progress: Callable[..., None] | None = None,
    tracking: TrackingSettings | None = None,
) -> dict[str, Any]:
    return train_model(chosen, DATA, pictures(), folder / "out", folder / "work", SEED, progress, tracking)


def train_until(folder: Path, chosen: ModelSettings, step: int, tracking: TrackingSettings | None = None) -> None:
    """Train, and die when this step is reported, or one after it."""

    def die(done: int, steps: int, figures: Mapping[str, object]) -> None:
        if done >= step and "loss" in figures:  # what prepares the training counts images
            raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pd.engine.training.progress_file.EVERY_S", 0.0)
        with pytest.raises(InterruptedError):
            train(folder, chosen, die, tracking)


def job_folder(folder: Path) -> Path:
    (found,) = (folder / "work").iterdir()
    return found


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job_folder(folder) / "progress.jsonl").read_text().splitlines()]


def resumed_at(folder: Path) -> list[int]:
    return [record["step"] for record in records(folder) if record.get("phase") == "resumed"]


def weights(model: Path) -> dict[str, Tensor]:
    unet = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    text = load_file(model / "text_encoder" / "model.safetensors")
    return {f"unet.{name}": value for name, value in unet.items()} | {f"text.{name}": value for name, value in text.items()}


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference between two models' weights."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def events(folder: Path) -> list[tuple[str, int, Any]]:
    """(tag, step, value) of what lies in TensorBoard's event files: a number, or an image as the bytes of a PNG."""
    found = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):  # length, its checksum, the event, its checksum
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += length + 16
            for value in event.summary.value:
                is_image = value.HasField("image")
                found.append((value.tag, event.step, value.image.encoded_image_string if is_image else value.simple_value))
    return found
