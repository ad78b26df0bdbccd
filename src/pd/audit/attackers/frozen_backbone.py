"""Any image network that was trained on something else, turned into an attacker as `imagenet` is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pd.audit.attackers.timm_tower import TimmFeatures
from pd.audit.clip import Clip
from pd.audit.weights import file_in, fill, read_state
from pd.dataset.images import Pixels, to_tensor
from pd.dataset.parquet_images import Images
from pd.errors import UserError
from pd.reid.augment import blur
from pd.reid.spaces.imagenet import BLUR
from pd.reid.spaces.views import views
from pd.reid.spaces.whitening import Rows, Whitening, unit

_WHERE = "audit.attackers"
_BATCH = 64


class Tower:
    """A frozen network on low-passed images, with a projection trained on augmented views of other people.

    Args:
        name: as figures show it, without folders of this machine.
        features: (N, 3, H, W) float32 in [-1, 1] -> (N, d) float32.
    """

    def __init__(self, name: str, features: Callable[[Tensor], Rows]) -> None:
        self.name, self._features = name, features
        self._whitening: Whitening | None = None

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Learn the projection; the network itself stays as it is."""
        seen = views(images, identities, seed=seed, steps=steps)
        rows = [self._blurred(batch) for batch in seen.batches(_BATCH)]
        self._whitening = Whitening.learn(np.concatenate(rows), seen.people)

    def embed(self, images: Pixels) -> Rows:
        """(N, k) unit rows."""
        if self._whitening is None:
            raise RuntimeError("fit comes before embed")
        rows = [self._blurred(to_tensor(images[at : at + _BATCH])) for at in range(0, len(images), _BATCH)]
        return self._whitening.apply(np.concatenate(rows))

    def _blurred(self, images: Tensor) -> Rows:
        sigma = torch.full((len(images),), BLUR * images.shape[-1])
        return unit(self._features(blur(images, sigma=sigma)))


def open_clip_tower(name: str) -> Tower:
    """`open_clip:ARCHITECTURE/WEIGHTS`; see `pd.audit.clip.Clip`."""
    clip = Clip(name, _WHERE, towers="image")
    return Tower(clip.name, clip.tensors)


def timm_tower(name: str) -> Tower:
    """`timm:ARCHITECTURE/WEIGHTS`; see `TimmFeatures`."""
    network = TimmFeatures(name, _WHERE)
    return Tower(network.name, network.tensors)


def torchvision_tower(name: str) -> Tower:
    """`torchvision:ARCHITECTURE/FILE`: a classifier of torchvision's, without its last layer; FILE holds its state dict.

    Raises:
        UserError: no such architecture, no file, or one that does not fit.
    """
    from torch import nn
    from torchvision.models import get_model, list_models

    architecture, _, file = name.removeprefix("torchvision:").partition("/")
    if architecture not in list_models():
        import difflib

        near = difflib.get_close_matches(architecture, list_models(), n=1, cutoff=0.0)[0]
        raise UserError(
            f"torchvision has no architecture '{architecture}'",
            code="unknown-name",
            where=_WHERE,
            fix=f"did you mean '{near}'?",
        )
    if not file:
        fix = f"pd downloads none: write torchvision:{architecture}/FILE.safetensors, a state dict on this machine"
        raise UserError(f"'torchvision:{architecture}' names no weights", code="bad-value", where=_WHERE, fix=fix)
    path = file_in(Path(file), _WHERE)
    network = get_model(architecture, weights=None)
    heads = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise UserError(
            f"torchvision's '{architecture}' is no classifier of images", code="bad-weights", where=_WHERE, fix="try resnet18"
        )
    fill(network, read_state(path, _WHERE), path, _WHERE)
    network.set_submodule(heads[-1], nn.Identity())
    return Tower(f"torchvision:{architecture}/{path.name}", _Classifier(network))


class _Classifier:
    """What a torchvision classifier sees before its last layer."""

    _mean, _std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))  # ImageNet's
    _side = 224

    def __init__(self, network: Any) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.eval().to(self._device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Rows:
        size = (self._side, self._side)
        resized = torch.nn.functional.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(-1, 1)
        ready = ((resized + 1) / 2 - self._mean) / self._std
        rows: Rows = self._network(ready.to(self._device)).flatten(1).float().cpu().numpy()
        return rows
