"""Backbones by name: small | resnet50 | open_clip:MODEL. Each takes (N, 3, H, W) in [-1, 1] and gives (N, features)."""

import difflib
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pd.errors import UserError
from pd.reid.resize import area, bicubic

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

GENERATIVE = ("generative", "reformed")
"""Backbones that `reid.method: g2d` makes; they begin with an inpainting network's encoder."""


def build_backbone(name: str, weights: str | None) -> tuple[nn.Module, int]:
    """The named backbone and the number of its features.

    Args:
        name: `small`, `resnet50` or `open_clip:MODEL`.
        weights: a local safetensors state dict, or for open_clip a pretrained tag; None: random.

    Raises:
        UserError: no such backbone or tag (the nearest is named), no such file, or its keys or shapes do not fit.
    """
    if name.startswith("open_clip:"):
        return _open_clip(name.removeprefix("open_clip:"), weights)
    if name in GENERATIVE:
        from pd.reid.methods.g2d import Generative, Reformed

        return Reformed() if name == "reformed" else Generative(), Generative.features
    if name not in ("small", "resnet50"):
        raise UserError(f"no backbone '{name}'", code="unknown-name", where="reid.backbone", fix=_nearest(name))
    module, features = (Small(), Small.features) if name == "small" else _resnet50()
    if weights is not None:
        state = {k: v for k, v in _read(weights).items() if not (name == "resnet50" and k.startswith("fc."))}
        _fill(module.network if isinstance(module, Resized) else module, state, weights)
    return module, features


class Small(nn.Module):
    """A residual network of half a million weights for images of 16 to 64 pixels; larger ones are averaged down to 64.

    Each image is brought to mean 0 and deviation 1 first, so brightness and contrast carry nothing. The last map is kept as a
    4x4 grid instead of one mean, because in aligned pictures *where* a feature stands tells people apart. The stem halves the
    image and the layout is channels-last: a step costs a third of what it costs without, and buys three.
    """

    features = 128 * 16

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, stride=2, padding=1, bias=False)
        self.blocks = nn.Sequential(_Residual(32, 64, 2), _Residual(64, 128, 2))
        self.norm = nn.BatchNorm2d(128)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, 2048)."""
        if max(images.shape[2:]) > 64:
            images = area(images, (64, 64))
        centred = images - images.mean((1, 2, 3), keepdim=True)
        x = centred / (centred.square().mean((1, 2, 3), keepdim=True).sqrt() + 0.02)
        x = self.blocks(self.stem(x.contiguous(memory_format=torch.channels_last)))
        return four_by_four(F.relu(self.norm(x))).flatten(1)


def four_by_four(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 4, 4), means over cells."""
    return area(maps, (4, 4))


class Resized(nn.Module):
    """A network behind the size and normalisation that it was made for."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1], any size -> the network's features."""
        if tuple(images.shape[2:]) != self.size:
            images = bicubic(images, self.size).clamp(-1, 1)
        features: Tensor = self.network(((images + 1) / 2 - self.mean) / self.std)
        return features


class _Residual(nn.Module):
    """Pre-activation residual block (He et al., arXiv 1603.05027)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inside), nn.BatchNorm2d(outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(inside, outside, 1, bias=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = F.relu(self.norm1(x))
        h = self.conv2(F.relu(self.norm2(self.conv1(h))))
        short: Tensor = self.skip(F.avg_pool2d(x, self.stride) if self.stride > 1 else x)
        return h + short


def _resnet50() -> tuple[nn.Module, int]:
    from torchvision.models import resnet50

    network = resnet50(weights=None)
    network.fc = nn.Identity()
    return Resized(network, (224, 224), _IMAGENET_MEAN, _IMAGENET_STD), 2048


def _open_clip(model: str, weights: str | None) -> tuple[nn.Module, int]:
    import open_clip

    if model not in open_clip.list_models():
        raise UserError(
            f"no backbone 'open_clip:{model}'", code="unknown-name", where="reid.backbone", fix=_nearest(f"open_clip:{model}")
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    local = weights is not None and weights not in tags
    if local and weights is not None and "." not in weights and "/" not in weights:
        near = difflib.get_close_matches(weights, tags, n=1, cutoff=0.0)
        fix = f"did you mean '{near[0]}'?" if near else "it has none: name a local safetensors file"
        raise UserError(
            f"open_clip's {model} has no pretrained tag '{weights}'", code="unknown-name", where="reid.weights", fix=fix
        )
    # The text tower is built and thrown away: open_clip has no public way to build the image tower alone.
    whole = open_clip.create_model(model, pretrained=None if local else weights)
    tower = whole.visual
    cfg = open_clip.get_model_preprocess_cfg(whole)
    side = cfg["size"]
    size = (side, side) if isinstance(side, int) else (side[0], side[1])
    module = Resized(tower, size, tuple(cfg["mean"]), tuple(cfg["std"]))
    if local and weights is not None:
        state = _read(weights)
        inner = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
        _fill(tower, inner or state, weights)
    with torch.no_grad():
        features = module.eval()(torch.zeros(1, 3, *size)).shape[1]
    return module, features


def _nearest(name: str) -> str:
    names = ["small", "resnet50"]
    if name.startswith("open_clip") or not difflib.get_close_matches(name, names, n=1, cutoff=0.5):
        import open_clip

        names += [f"open_clip:{model}" for model in open_clip.list_models()]
    return f"did you mean '{difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]}'?"


def _read(weights: str) -> dict[str, Tensor]:
    """A local safetensors file; nothing is ever unpickled."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(weights).is_file():
        raise UserError(
            f"no weights file '{weights}'", code="missing-weights", where="reid.weights", fix="name a local safetensors file"
        )
    try:
        state: dict[str, Tensor] = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"'{weights}' is no safetensors file ({type(error).__name__})",
            code="bad-weights",
            where="reid.weights",
            fix="convert it with safetensors.torch.save_file",
        ) from None
    return state


def _fill(module: nn.Module, state: Mapping[str, Tensor], weights: str) -> None:
    """Load all keys or none, naming the first that does not fit."""
    own = module.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    for keys, what in ((missing, "lacks"), (extra, "has an unknown"), (shapes, "has another shape at")):
        if keys:
            raise UserError(
                f"'{weights}' {what} '{keys[0]}' ({len(missing)} missing, {len(extra)} unknown, {len(shapes)} misshaped)",
                code="bad-weights",
                where="reid.weights",
                fix="the file must hold this backbone's state dict",
            )
    module.load_state_dict(dict(state))
