"""Vision transformers: a tiny one from scratch, or one of timm's by name with weights that lie on this machine.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929). The layer-wise learning rates are those of BEiT
(arXiv 2106.08254) and MAE (arXiv 2111.06377): each layer learns at a fixed share of the rate of the one above it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pd.config.semi_vit import VitSettings
from pd.config.training import TrainingSettings
from pd.errors import UserError

WHERE = "semi_vit.network"
SCRATCH_DECAY, TUNED_DECAY = 0.85, 0.65  # the paper's, for training from scratch and from pre-trained weights
_COLOURS = 3


class Vit(nn.Module):
    """A vision transformer of timm that takes images in [-1, 1].

    Args:
        vit: timm's module, `VisionTransformer`.
        mean, deviation: of the channels that its weights were trained with, of values in [0, 1].
        colours: whether it wants three channels; grey images are then repeated.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, vit: Any, mean: tuple[float, ...], deviation: tuple[float, ...], colours: bool) -> None:
        super().__init__()
        self.vit, self.colours = vit, colours
        shape = (1, len(mean), 1, 1)
        self.register_buffer("shift", 2 * torch.tensor(mean).view(shape) - 1, persistent=False)
        self.register_buffer("scale", 2 * torch.tensor(deviation).view(shape), persistent=False)

    def normed(self, images: Tensor) -> Tensor:
        """(N, C, S, S) in [-1, 1] as the transformer takes them."""
        if self.colours and images.shape[1] == 1:
            images = images.expand(-1, _COLOURS, -1, -1)
        return (images - self.shift) / self.scale

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, d), what the last linear layer sees."""
        found: Tensor = self.vit.forward_head(self.vit.forward_features(self.normed(images)), pre_logits=True)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, classes) logits."""
        logits: Tensor = self.vit(self.normed(images))
        return logits


def build_vit(settings: VitSettings, shape: tuple[int, ...], classes: int, seed: int, *, weights: bool = True) -> Vit:
    """A transformer for images of this shape; weights that are not read from a file follow from `seed` alone.

    Args:
        settings: which one.
        shape: (C, S, S).
        classes: outputs.
        seed: of the weights.
        weights: whether the file that the settings name is read.

    Raises:
        UserError: a patch that does not divide the side, no such architecture, or weights of another one.
    """
    if len(shape) != 3:
        raise UserError(
            "a vision transformer looks at images, not at features", code="bad-model", where=WHERE, fix="give it images"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.name == "tiny":
            return _tiny(settings.patched(shape[1]), shape, classes)
        return _named(settings, shape[1], classes, weights)


def _tiny(settings: VitSettings, shape: tuple[int, ...], classes: int) -> Vit:
    from timm.models.vision_transformer import VisionTransformer

    channels, side, patch = shape[0], shape[1], settings.patch
    assert patch is not None
    if side % patch:
        divisors = [str(n) for n in range(2, side + 1) if side % n == 0 and n <= side // 2][:6]
        raise UserError(
            f"patches of {patch} pixels do not divide images of {side}",
            code="bad-size",
            where=f"{WHERE}.patch",
            fix=f"one of {', '.join(divisors)}" if divisors else "another data.size",
        )
    vit = VisionTransformer(
        img_size=side,
        patch_size=patch,
        in_chans=channels,
        num_classes=classes,
        embed_dim=settings.width,
        depth=settings.depth,
        num_heads=settings.heads,
        class_token=False,
        global_pool="avg",
    )
    for name, module in vit.named_modules():
        if isinstance(module, nn.Linear) and name != "head":
            # As MAE does. timm's 0.02 is made for wide networks: at a width of 64 it is a sixth of this, and learning is slow.
            nn.init.xavier_uniform_(module.weight)
    with torch.no_grad():
        vit.pos_embed.copy_(positions(side // patch, settings.width))
    return Vit(vit, (0.5,) * channels, (0.5,) * channels, colours=False)


def positions(side: int, width: int) -> Tensor:
    """(1, side * side, width): where each patch is, by sines and cosines of row and column, as MAE begins with."""
    each = width // 4
    rates = 10000 ** (-torch.arange(each, dtype=torch.float64) / max(each, 1))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], 1)  # of one coordinate
    rows, columns = line[:, None].expand(side, side, -1), line[None].expand(side, side, -1)
    found = torch.cat([rows, columns], 2).reshape(side * side, -1)
    return torch.nn.functional.pad(found, [0, width - found.shape[1]])[None].float()


def _named(settings: VitSettings, side: int, classes: int, weights: bool) -> Vit:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    name = settings.name.removeprefix("timm:")
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0][:12]}*")[:3] or ["vit_tiny_patch16_224"]
        raise UserError(
            f"timm has no '{name}'", code="unknown-name", where=f"{WHERE}.name", fix=f"say, timm:{', timm:'.join(near)}"
        )
    wrong = UserError(
        f"'{name}' is not a plain vision transformer",
        code="unknown-name",
        where=f"{WHERE}.name",
        fix="name one, say timm:vit_tiny_patch16_224",
    )
    if not name.startswith(("vit_", "deit_", "beit")):
        raise wrong
    try:
        vit = timm.create_model(name, pretrained=False, num_classes=classes, img_size=side)
    except (AssertionError, RuntimeError, TypeError, ValueError, ZeroDivisionError):
        raise UserError(
            f"'{name}' cannot be built for images of {side} pixels",
            code="bad-model",
            where=f"{WHERE}.name",
            fix="set data.size to a multiple of its patch's side",
        ) from None
    if not isinstance(vit, VisionTransformer):
        raise wrong
    patch = vit.patch_embed.patch_size[0]
    if side % patch:
        raise UserError(
            f"'{name}' has patches of {patch} pixels, which do not divide images of {side}",
            code="bad-size",
            where=f"{WHERE}.name",
            fix=f"set data.size to a multiple of {patch}, or name one of another patch",
        )
    if weights and settings.weights is not None:
        _fill(vit, settings)
    known = vit.pretrained_cfg or {}
    half = (0.5,) * _COLOURS
    return Vit(vit, tuple(known.get("mean", half)), tuple(known.get("std", half)), colours=True)


def _fill(vit: Any, settings: VitSettings) -> None:
    """Read a file's weights into a module, but those of the last layer; positions of another side are interpolated."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from timm.models.vision_transformer import checkpoint_filter_fn

    path, where = settings.weights, f"{WHERE}.weights"
    try:
        state = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"no weights can be read ({type(error).__name__})",
            code="bad-weights",
            where=f"{where}: {path}",
            fix="name a safetensors file on a disk",
        ) from None
    own = vit.state_dict()
    other = UserError(
        f"the weights are of another architecture than {settings.name}",
        code="bad-weights",
        where=f"{where}: {path}",
        fix="name its own weights",
    )
    try:
        state = checkpoint_filter_fn(state, vit)
    except (AssertionError, KeyError, RuntimeError, ValueError, IndexError, AttributeError):
        raise other from None
    inner = {name for name in own if not name.startswith("head.")}
    fits = all(name in state and state[name].shape == own[name].shape for name in inner)
    if not fits or {name for name in state if not name.startswith("head.")} - inner:
        raise other
    vit.load_state_dict({**{name: own[name] for name in own if name not in inner}, **{name: state[name] for name in inner}})


def start_from(module: Vit, state: Mapping[str, Tensor]) -> None:
    """Take another training's weights, as `Vit.state_dict` names them, all but those of the last layer.

    Raises:
        UserError: they are of another architecture.
    """
    own = module.state_dict()
    inner = {name for name in own if not name.startswith("vit.head.")}
    if {name for name in state if not name.startswith("vit.head.")} != inner or any(
        state[name].shape != own[name].shape for name in inner
    ):
        raise UserError(
            "the weights to start from are of another architecture",
            code="bad-weights",
            where=WHERE,
            fix="name those of the same network",
        )
    with torch.no_grad():
        for name in inner:
            own[name].copy_(state[name])


def layer_of(name: str, depth: int) -> int:
    """The layer of a parameter of timm's transformers: 0 the patches, 1 to `depth` the blocks, then what is above them."""
    head, _, rest = name.removeprefix("vit.").partition(".")
    if head in ("cls_token", "reg_token", "pos_embed", "patch_embed", "mask_token", "norm_pre"):
        return 0
    return int(rest.partition(".")[0]) + 1 if head == "blocks" else depth + 1


def optimiser(module: Vit, settings: TrainingSettings, decay: float) -> torch.optim.Optimizer:
    """The settings' optimiser, with layer-wise rates: the rate of layer l of L is `decay ** (L - l)` times the settings'.

    Weight decay is for matrices: biases, norms and positions have none.
    """
    depth = len(module.vit.blocks)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, value in module.named_parameters():
        if value.requires_grad:
            plain = value.ndim > 1 and not name.endswith(("pos_embed", "cls_token", "reg_token"))
            groups.setdefault((layer_of(name, depth), plain), []).append(value)
    rows: list[dict[str, Any]] = [
        {
            "params": held,
            "lr": settings.learning_rate * decay ** (depth + 1 - layer),
            "weight_decay": settings.weight_decay if plain else 0.0,
        }
        for (layer, plain), held in sorted(groups.items(), key=lambda one: one[0])
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(rows, settings.learning_rate, momentum=settings.momentum)
    return torch.optim.AdamW(rows, settings.learning_rate)


def decay_of(settings: VitSettings, pretrained: bool) -> float:
    """The layer-wise decay that the settings name, or the paper's for this start."""
    if settings.layer_decay is not None:
        return settings.layer_decay
    return TUNED_DECAY if pretrained else SCRATCH_DECAY
