"""An AutoencoderKL whose weights are written down, not learned: it codes 4x4 blocks of pixels linearly and exactly.

A learned autoencoder of small pictures blurs, and *blur is not privacy*: it hides who was copied from one attacker and not
from the next. This one loses nothing that its code does not leave out, and as no picture was used to make it, its weights
are public by construction. It is the stock diffusers class, so a released model needs no `pd` to decode.

How a network of convolutions, GroupNorm and rectifiers is made linear where it should be:

* **GroupNorm** (one group): two channels hold +-`ANCHOR`, so that the variance is theirs and the norm is a known gain; the
  channel `BALANCE` holds minus the sum of the others, so that the mean is 0.
* **Rectifiers**: what must pass is lifted by `OFFSET` (the norm's bias), and the lifted channel `ZERO` is subtracted again
  where it is read. At the two ends, where diffusers fixes SiLU, silu(v) - silu(-v) = v.
* **Nearest upsampling** makes 2x2 equal pixels, and convolutions cannot tell which is which, except from the zero padding
  at the border. So the first half of the decoder lets +-1 stripes grow inwards from the four borders, two cells a residual
  block. After upsampling, a pixel is the right one of its cell when its stripe equals its left neighbour's. Then each pixel
  picks its own of the four values x_q that its cell carries: x_0 + sum_q relu(x_q - x_0 + OFFSET - PENALTY [not q]).

From two sides the stripes cover 16 (layers + 3) pixels: 64 with one layer a block; larger pictures need more layers, and
`exact_autoencoder` counts them. A picture larger than that comes out wrong in the middle, so `reach` says how far it goes.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn

from pd.errors import UserError

BLOCK = 4
ANCHOR = 2e4  # far above any activation, so that the gain of the norms hardly depends on the picture; below 65504 for float16
OFFSET = 4.0  # above any difference of pixels, which are in [-1, 1]; beyond, a wild latent's pixels are clamped
PENALTY = 2 * OFFSET
PLUS, MINUS, BALANCE, ZERO, FIRST = range(5)  # the service channels, and the first channel of data
SHIFTS = {"left": (0, -1, 1.0), "right": (0, 1, -1.0), "top": (-1, 0, 1.0), "bottom": (1, 0, -1.0)}  # dy, dx, sign


@dataclass(frozen=True)
class BlockCode:
    """A linear code of 4x4 blocks: z = scale * (basis @ (x - mean)), x = basis.T @ (z / scale) + mean.

    Attributes:
        basis: (n, colours * 16) float64, orthonormal rows; columns run over colour, row and column of the block.
        mean: (colours * 16,) float64, pixels in [-1, 1].
        scale: (n,) float64, what each latent channel is multiplied by.
    """

    basis: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @property
    def colours(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return int(self.basis.shape[1]) // BLOCK**2


def exact_autoencoder(code: BlockCode, size: int) -> AutoencoderKL:
    """Write the weights of an autoencoder that computes `code`.

    Args:
        code: the block code.
        size: the longest side of the pictures, pixels; smaller ones work too, and all up to 64 have the same weights.

    Returns:
        A frozen AutoencoderKL in eval mode, 3 pixel channels, a quarter of the resolution, `scaling_factor` 1. Grey codes
        read the mean of the three channels and write three equal ones.

    Raises:
        UserError: a size that is not a multiple of 8.
    """
    if size % 8 or size < 8:
        raise UserError(
            "the exact autoencoder takes sides that are multiples of 8", code="bad-size", where=f"size = {size}", fix="use 32"
        )
    n, pixels = code.basis.shape
    widths = [6 + 5 * code.colours, 6 + pixels, max(FIRST + pixels + 5, 2 + 2 * n)]
    widths = [8 * math.ceil(width / 8) for width in widths]
    layers = max(1, math.ceil(size / 16) - 3)
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that are all overwritten
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            act_fn="relu",
            latent_channels=n,
            norm_num_groups=1,
            sample_size=16 * (layers + 3),
            scaling_factor=1.0,
            use_quant_conv=False,
            use_post_quant_conv=False,
            mid_block_add_attention=False,
        )
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                module.bias.zero_()  # type: ignore[union-attr]
            elif isinstance(module, nn.GroupNorm):
                module.weight.zero_()
        _write_encoder(vae.encoder, code)
        _write_decoder(vae.decoder, code)
    return vae.requires_grad_(False).eval()


def reach(vae: AutoencoderKL) -> int | None:
    """The longest side in pixels that an autoencoder of this module takes; None for any other autoencoder."""
    ours = vae.config.act_fn == "relu" and vae.config.norm_num_groups == 1
    return 16 * (vae.config.layers_per_block + 3) if ours else None


def _write_encoder(encoder: Any, code: BlockCode) -> None:
    """Pixels to depth by two strided convolutions, then the basis; +v and -v because the last rectifier is SiLU."""
    n, colours = len(code.scale), code.colours
    first, second, third = encoder.down_blocks
    for colour in range(3):
        encoder.conv_in.weight[colour % colours, colour, 1, 1] = 1.0 if colours == 3 else 1 / 3
    for c in range(colours):
        for y in range(2):
            for x in range(2):
                # diffusers pads right and below: taps 0 and 1 of the kernel are the 2x2 cell
                first.downsamplers[0].conv.weight[4 * c + 2 * y + x, c, y, x] = 1
                for k in range(4):
                    row, column = 2 * y + k // 2, 2 * x + k % 2
                    out = BLOCK**2 * c + BLOCK * row + column
                    second.downsamplers[0].conv.weight[out, 4 * c + k, y, x] = 1
    _pass(second.resnets[0].conv_shortcut, list(range(4 * colours)))
    analysis = torch.from_numpy(code.scale[:, None] * code.basis).float()
    shift = torch.from_numpy(-code.scale * (code.basis @ code.mean)).float()
    into, out = third.resnets[0].conv_shortcut, encoder.conv_out
    into.bias[:2] = torch.tensor([ANCHOR, -ANCHOR])
    _lift(encoder.conv_norm_out, 0)
    for sign, start in ((1, 2), (-1, 2 + n)):
        into.weight[start : start + n, : code.basis.shape[1], 0, 0] = sign * analysis
        into.bias[start : start + n] = sign * shift
        out.weight[:n, start : start + n, 1, 1] = sign * torch.eye(n)
    out.bias[n:] = -30.0  # log variance, the least that diffusers allows: sampling adds 3e-7


def _write_decoder(decoder: Any, code: BlockCode) -> None:
    """Inverse basis, stripes from the borders, two splittings of each cell into 2x2, and the end."""
    pixels, colours = code.basis.shape[1], code.colours
    synthesis = torch.from_numpy(code.basis.T / code.scale).float()
    data = slice(FIRST, FIRST + pixels)
    decoder.conv_in.weight[data, :, 1, 1] = synthesis
    decoder.conv_in.bias[data] = torch.from_numpy(code.mean).float()
    one = FIRST + pixels
    stripes = dict(zip(SHIFTS, range(one + 1, one + 5), strict=True))
    decoder.conv_in.bias[one] = 1
    _balance(decoder.conv_in, anchors=True)
    first, second, third = decoder.up_blocks
    for resnet in (*decoder.mid_block.resnets, *first.resnets):
        _grow_stripes(resnet, one, stripes)

    # what a cell carries at each level, as (colour, row, column) of its pixels: 4x4, then 2x2
    across, down = [stripes["left"], stripes["right"]], [stripes["top"], stripes["bottom"]]
    _spread(first.upsamplers[0].conv, list(range(FIRST, one)), across, down)
    quarter, _ = _split(second.resnets, BLOCK, colours)
    _spread(second.upsamplers[0].conv, quarter, [FIRST + pixels], [FIRST + pixels + 1])
    plus, minus = _split(third.resnets, 2, colours, negative=True)
    _lift(decoder.conv_norm_out, 0)
    for channel in range(3):
        decoder.conv_out.weight[channel, plus[channel % colours], 1, 1] = 1
        decoder.conv_out.weight[channel, minus[channel % colours], 1, 1] = -1


def _grow_stripes(resnet: Any, one: int, stripes: dict[str, int]) -> None:
    """Let each stripe field p grow by two cells: p = (1 - S)^2 1 + S^2 p, S the shift away from its border.

    (1 - S)^2 1 is +1 in the first cell, -1 in the second and 0 beyond, thanks to zero padding. From the right and from
    below the sign is the other way round, so that with an even number of cells the fields agree where they meet.
    """
    _lift(resnet.norm1)
    _lift(resnet.norm2)
    for index, (name, p) in enumerate(stripes.items()):
        dy, dx, sign = SHIFTS[name]
        far, near = FIRST + 2 * index, FIRST + 2 * index + 1
        _read(resnet.conv1, far, one, sign, dy, dx)  # far = S (1 + p) - 2
        _read(resnet.conv1, far, p, 1.0, dy, dx)
        _read(resnet.conv1, far, one, -2 * sign)
        _read(resnet.conv1, near, one, sign)  # near = 1 - p
        _read(resnet.conv1, near, p, -1.0)
        _read(resnet.conv2, p, far, 1.0, dy, dx)  # p += S far + near
        _read(resnet.conv2, p, near, 1.0)
    _balance(resnet.conv1, anchors=True)
    _balance(resnet.conv2)


def _spread(conv: nn.Conv2d, data: list[int], across: list[int], down: list[int]) -> None:
    """After upsampling: pass the data, and compare the sum of the stripes with the left and the upper neighbour's.

    Writes the data from `FIRST` on, and behind them +-(own - neighbour) across and +-(own - neighbour) down.
    """
    _pass(conv, data, FIRST)
    out = FIRST + len(data)
    for channels, dy, dx in ((across, 0, -1), (down, -1, 0)):
        for sign in (1.0, -1.0):
            conv.weight[out, channels, 1, 1] = sign
            conv.weight[out, channels, 1 + dy, 1 + dx] = -sign
            out += 1
    _balance(conv, anchors=True)


def _split(resnets: Any, side: int, colours: int, negative: bool = False) -> tuple[list[int], list[int]]:
    """Let every pixel keep, of the `side` x `side` values that its cell carries, its own quarter.

    The first block finds the phases (+1 in the right, lower pixels of the cells, -1 in the others); the second picks:
    it adds to the first of four values its difference from the pixel's own.

    Returns:
        The channels of the picked values, by (colour, row, column), and those of their negatives, if asked for.
    """
    half, phase = side // 2, FIRST + colours * side**2
    find, pick = resnets[0], resnets[1]
    plus = [FIRST + (c * side + y) * side + x for c in range(colours) for y in range(half) for x in range(half)]
    minus = list(range(phase + 2, phase + 2 + len(plus))) if negative else []

    _pass(find.conv_shortcut, list(range(FIRST, phase)), FIRST)
    for channel, negated in zip(plus, minus, strict=False):
        find.conv_shortcut.weight[negated, channel, 0, 0] = -1
    _lift(find.norm1, -0.5)  # a difference is 0, or at least 1
    _lift(find.norm2, 0)
    for axis in range(2):
        find.conv1.weight[FIRST + axis, [phase + 2 * axis, phase + 2 * axis + 1], 1, 1] = -3
        find.conv1.bias[FIRST + axis] = 1  # 1 where own and neighbour are equal, or else at most -0.5
        find.conv2.weight[phase + axis, FIRST + axis, 1, 1] = 2
        find.conv2.bias[phase + axis] = -1
    _balance(find.conv1, anchors=True)
    _balance(find.conv2)
    _balance(find.conv_shortcut, anchors=True)

    _lift(pick.norm1)
    _lift(pick.norm2)
    stay, gate = FIRST, FIRST + 1
    _open(pick.conv1, stay, phase, 0, 0)
    for index, channel in enumerate(plus):
        gates = [stay]
        for row, column in ((0, 1), (1, 0), (1, 1)):
            _open(pick.conv1, gate, phase, row, column)
            _read(pick.conv1, gate, channel + half * (side * row + column), 1.0)
            _read(pick.conv1, gate, channel, -1.0)
            gates.append(gate)
            gate += 1
        for out, sign in [(channel, 1.0), *((m, -1.0) for m in minus[index : index + 1])]:
            pick.conv2.weight[out, gates, 1, 1] = sign  # three gates give 0, one gives difference + OFFSET
            pick.conv2.weight[out, ZERO, 1, 1] = -sign
    _balance(pick.conv1, anchors=True)
    _balance(pick.conv2)
    return plus, minus


def _lift(norm: nn.GroupNorm, by: float = OFFSET) -> None:
    """Let a norm pass its channels as they are, plus a constant."""
    norm.weight.fill_(ANCHOR * math.sqrt(2 / norm.num_channels))
    norm.bias.fill_(by)


def _open(conv: nn.Conv2d, gate: int, phase: int, row: int, column: int) -> None:
    """Open a gate, that is leave it at 0 and not at -PENALTY or less, where the phases are those of (row, column)."""
    _read(conv, gate, phase, PENALTY / 2 * (2 * column - 1))
    _read(conv, gate, phase + 1, PENALTY / 2 * (2 * row - 1))
    conv.bias[gate] = -PENALTY  # type: ignore[index]


def _read(conv: nn.Conv2d, out: int, channel: int, weight: float, dy: int = 0, dx: int = 0) -> None:
    """Add a tap on a lifted channel, less the lift."""
    conv.weight[out, channel, 1 + dy, 1 + dx] += weight
    conv.weight[out, ZERO, 1 + dy, 1 + dx] -= weight


def _pass(conv: nn.Conv2d, channels: list[int], start: int = 0) -> None:
    """Copy channels to those from `start` on."""
    centre = conv.kernel_size[0] // 2
    for out, channel in enumerate(channels, start):
        conv.weight[out, channel, centre, centre] = 1


def _balance(conv: nn.Conv2d, anchors: bool = False) -> None:
    """Make the sum over the channels 0 everywhere, and add the two anchors where the tensor does not have them yet."""
    bias = conv.bias
    if bias is None:
        raise ValueError("the convolution has no bias")
    # rounded, so that the weights are the same bytes whatever order a processor adds in (0 - x: no negative zeros)
    conv.weight[BALANCE] = 0 - conv.weight.double().sum(0).round(decimals=6).float()
    bias[BALANCE] = 0 - bias.double().sum().round(decimals=6).float()
    if anchors:
        bias[PLUS], bias[MINUS] = ANCHOR, -ANCHOR
