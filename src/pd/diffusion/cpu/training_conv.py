"""Convolutions in bfloat16 on CPUs with instructions for it, for training.

oneDNN reorders float32 weights at every call and takes the gradient of the weights, for small images, at a quarter of the speed
of a matrix product. Here a weight is cast and reordered at once, and that gradient is a product of the images' 3x3 patches.
A 1x1 convolution is a product altogether.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_CELLS = 64  # pixels of an image up to which patches, nine times the image, are worth their memory


def convolve_in_bfloat16(module: nn.Conv2d) -> None:
    """Make a module a `QuickConv2d`, in place. Kernels other than 1x1 and 3x3, and strides other than 1, stay as they are."""
    size = module.kernel_size[0]
    usual = {"kernel_size": (size, size), "stride": (1, 1), "padding": (size // 2, size // 2), "dilation": (1, 1), "groups": 1}
    if type(module) is nn.Conv2d and size in (1, 3) and all(getattr(module, name) == value for name, value in usual.items()):
        module.__class__ = QuickConv2d  # not another `forward`: a copy of the module would call the original's


class QuickConv2d(nn.Conv2d):
    """A convolution of 1x1 or 3x3 and stride 1 that does as torch's, but for when autocast asks a CPU for bfloat16."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, H, W)."""
        if images.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(images)
        images = _ordered(images)
        bias = None if self.bias is None else self.bias.to(torch.bfloat16)
        if self.kernel_size == (1, 1):
            return functional.linear(images.permute(0, 2, 3, 1), self.weight.flatten(1), bias).permute(0, 3, 1, 2)
        found: Tensor = Convolution.apply(images, _ordered(self.weight), bias)
        return found


def _ordered(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16, memory_format=torch.channels_last)


class Convolution(torch.autograd.Function):
    """A 3x3 convolution of stride 1 that keeps the size: (B, C, H, W), (K, C, 3, 3) and (K,) to (B, K, H, W), channels-last."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(images, weight)
        return functional.conv2d(images, weight, bias, padding=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        (gradient,) = gradients
        wanted = list(ctx.needs_input_grad)
        by_product = wanted[1] and images.shape[2] * images.shape[3] <= _CELLS
        asked = [wanted[0], wanted[1] and not by_product, False]
        of_images, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient, images, weight, [0], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, asked
        )
        rows = gradient.permute(0, 2, 3, 1).flatten(0, 2)
        if by_product:
            of_weight = (rows.t() @ _patches(images)).view(-1, 3, 3, images.shape[1]).permute(0, 3, 1, 2)
        of_bias = rows.sum(0) if wanted[2] else None
        return of_images, of_weight, of_bias


def _patches(images: Tensor) -> Tensor:
    """What each pixel's window sees, (B * H * W, 9 * C), of (B, C, H, W): row and column of the window, then channel."""
    batch, channels, height, width = images.shape
    framed = functional.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
    line = (width + 2) * channels
    # three neighbours of a line lie one after the other
    windows = framed.as_strided((batch, height, width, 3, 3 * channels), ((height + 2) * line, line, channels, line, 1))
    return windows.reshape(batch * height * width, 9 * channels)
