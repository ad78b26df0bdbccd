"""The most floating point operations a second that a device can do: what a training's speed is held against."""

import math
import re
import time
from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

_MEASURE_S = 0.25
_LARGEST = 8192  # side of a matrix: a quarter of a gigabyte
_TERA = 1e12

# (name as the driver gives it, half precision, float32), TFLOP/s without sparsity, from the makers' data sheets. The first
# that matches counts. Half precision is bfloat16, or float16 where there is no bfloat16 (T4, V100); float32 is TF32 on tensor
# cores, or plain float32 where there is no TF32.
_DATASHEETS = (
    (r"\bGB200\b|\bB200\b", 2250.0, 1125.0),
    (r"\bH200\b", 989.0, 494.0),
    (r"\bH100 PCIe\b", 756.0, 378.0),
    (r"\bH100 NVL\b", 835.0, 417.0),
    (r"\bGH200\b|\bH100\b", 989.0, 494.0),
    (r"\bA100\b", 312.0, 156.0),
    (r"\bA40\b", 149.7, 74.8),
    (r"\bA30\b", 165.0, 82.0),
    (r"\bA10G\b", 70.0, 35.0),
    (r"\bA10\b", 125.0, 62.5),
    (r"\bL40S\b", 362.0, 183.0),
    (r"\bL40\b", 181.0, 90.5),
    (r"\bL4\b", 121.0, 60.0),
    (r"\bRTX 4090\b", 165.0, 82.6),
    (r"\bRTX 3090\b", 71.0, 35.6),
    (r"\bV100\b", 125.0, 15.7),
    (r"\bT4\b", 65.0, 8.1),
)


def peak_flops(device: torch.device, precision: str) -> float:
    """FLOP/s of one worker's device.

    For GPUs that are known by name it is the data sheet's figure, which no program reaches: 0.4 of it is good. For others,
    and for CPUs, whose data sheets have no such figure, it is what a matrix product reaches now, in the training's precision
    and with this process's threads: a share of it can be higher, and does not compare with that of a GPU.

    Args:
        device: where the training computes.
        precision: of the training.
    """
    if device.type == "cuda" and (known := datasheet(torch.cuda.get_device_name(device), precision)):
        return known
    return _measured(device.type, device.index, precision, torch.get_num_threads())


def datasheet(name: str, precision: str) -> float | None:
    """FLOP/s of a GPU by its name; None when it is not known."""
    for pattern, half, single in _DATASHEETS:
        if re.search(pattern, name, re.IGNORECASE):
            return (half if precision == "bf16" else single) * _TERA
    return None


@lru_cache
def _measured(kind: str, index: int | None, precision: str, threads: int) -> float:
    """The best of square matrix products of growing size, within about a quarter of a second, and of a 3x3 convolution.

    The two come from different libraries, of which one may not know the processor: MKL multiplies float32 on AMD's at 0.4 of
    oneDNN's speed. `threads` is a key only.
    """
    device = torch.device(kind if index is None else f"{kind}:{index}")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def numbers(*shape: int) -> Tensor:  # not random: nobody's random numbers may change for this
        return torch.linspace(-1, 1, math.prod(shape), device=device).view(shape).to(dtype)

    convolution = partial(torch.conv2d, padding=1)
    images, kernels = numbers(64, 8, 8, 128).permute(0, 3, 1, 2), numbers(128, 3, 3, 128).permute(0, 3, 1, 2)
    took = min(_seconds(convolution, images, kernels) for _ in range(4))
    best = 2 * 9 * 128 * images.numel() / took
    side, begin = 256, time.perf_counter()
    while time.perf_counter() - begin < _MEASURE_S:
        matrix = numbers(side, side)
        took = min(_seconds(torch.mm, matrix, matrix) for _ in range(3))
        best = max(best, 2 * side**3 / took)
        if took < _MEASURE_S / 50:
            side = min(2 * side, _LARGEST)
    return best


def _seconds(multiply: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor) -> float:
    def wait() -> None:
        if one.device.type == "cuda":
            torch.cuda.synchronize(one.device)

    wait()
    begin = time.perf_counter()
    multiply(one, other)
    wait()
    return time.perf_counter() - begin
