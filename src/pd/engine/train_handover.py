"""Images and captions on their way from the driver to the workers, without torch: a driver need not import it."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from pd.diffusion.data import TrainingData
from pd.store.atomic import disk_errors


def hand_over(images: TrainingData, path: Path) -> None:
    """Write images and captions, whole or not at all."""
    captions = np.frombuffer(json.dumps(images.captions).encode(), dtype=np.uint8)
    arrays = {"images": np.ascontiguousarray(images.images), "captions": captions}
    write_whole(path, lambda aside: save_file(arrays, aside))


def receive(path: Path) -> TrainingData:
    """What `hand_over` wrote."""
    arrays = load_file(path)
    return TrainingData(arrays["images"], json.loads(arrays["captions"].tobytes()))


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file aside, then rename it."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    with disk_errors(path):
        write(aside)
        aside.rename(path)
