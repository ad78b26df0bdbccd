"""Augmentations that make copies look unlike their originals, on whole batches, from one generator.

The list is LCMem's (arXiv 2512.14421: rotation 20 degrees, flip, blur, noise, brightness, contrast, JPEG 10-95) with crops and
low resolution added, because a generator's near-copies are blurred, noisy and shifted (methods: *Blur is not privacy*).
Random numbers are always drawn on the CPU, so a seed means the same pictures on every device.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Luminance quantisation table of the JPEG standard (ITU-T T.81, annex K.1), for 8-bit samples.
_JPEG_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


Draws = dict[str, Tensor]
"""What is drawn for a batch of views, by name, each (N, ...): rows of it are rows of the batch."""


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """One random view of each image: moved and mirrored, then blurred, toned, made noisy and compressed, each by chance.

    Args:
        images: (N, C, H, W) float32 in [-1, 1]; any C (noise differs between channels, all else is shared).
        generator: CPU generator, the only source of chance.

    Returns:
        (N, C, H, W) float32 in [-1, 1], on the images' device.
    """
    drawn = draw(len(images), tuple(images.shape[1:]), generator)
    return view({name: value.to(images.device) for name, value in drawn.items()}, images)


def draw(n: int, shape: tuple[int, ...], generator: torch.Generator) -> Draws:
    """All that is random in `n` views of images (C, H, W); on the CPU."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    def sometimes(p: float) -> Tensor:
        return torch.rand(n, generator=generator) < p

    return {
        "degrees": uniform(-20, 20) * sometimes(0.6),
        "scale": torch.exp(uniform(-0.22, 0.1)),
        "shift": torch.stack([uniform(-0.18, 0.18), uniform(-0.18, 0.18)], 1),
        "mirror": sometimes(0.5),
        "brightness": uniform(-0.3, 0.3) * sometimes(0.6),
        "contrast": torch.exp(uniform(-0.5, 0.4) * sometimes(0.6)),
        # Widths are shares of the side, so that a 256 px image is blurred as much to the eye as a 32 px one.
        "sigma": uniform(0.01, 0.065) * shape[-1] * sometimes(0.5),
        "share": torch.where(sometimes(0.3), uniform(0.25, 0.75), 1.0),
        "noise": uniform(0.02, 0.35) * sometimes(0.5),
        "white": torch.randn((n, *shape), generator=generator),
        "quality": torch.where(sometimes(0.3), uniform(10, 95), 100.0),
    }


def view(drawn: Draws, images: Tensor) -> Tensor:
    """The views of images (N, C, H, W) that were drawn for them; both on the same device."""
    moved = {name: drawn[name] for name in ("degrees", "scale", "shift", "mirror")}
    x = tone(move(images, **moved), brightness=drawn["brightness"], contrast=drawn["contrast"])
    x = low_resolution(blur(x, sigma=drawn["sigma"]), share=drawn["share"])
    return jpeg(add_noise(x, drawn["noise"], drawn["white"]), quality=drawn["quality"])


def move(images: Tensor, *, degrees: Tensor, scale: Tensor, shift: Tensor, mirror: Tensor) -> Tensor:
    """Rotate, scale, shift and mirror; edges are repeated.

    Args:
        images: (N, C, H, W) float32.
        degrees: (N,) rotation.
        scale: (N,) side of the source window as a share of the image; below 1 crops, above 1 shrinks the picture.
        shift: (N, 2) centre of the window, in sides of the image.
        mirror: (N,) bool, left and right swapped.
    """
    angle = degrees * (math.pi / 180)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    side = torch.where(mirror, -1.0, 1.0)
    # affine_grid's frame runs from -1 to 1, so a shift by one side is 2.
    theta = torch.stack(
        [torch.stack([cos * side, -sin, 2 * shift[:, 0]], 1), torch.stack([sin * side, cos, 2 * shift[:, 1]], 1)], 1
    )
    grid = F.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def tone(images: Tensor, *, brightness: Tensor, contrast: Tensor) -> Tensor:
    """`contrast` (N,) times the deviation from each image's mean, plus `brightness` (N,), clamped to [-1, 1]."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * contrast.view(-1, 1, 1, 1) + mean + brightness.view(-1, 1, 1, 1)).clamp(-1, 1)


def blur(images: Tensor, *, sigma: Tensor) -> Tensor:
    """Gaussian blur, `sigma` (N,) in pixels; 0 leaves an image as it is. Separable, one small matrix an image and axis."""

    def matrix(side: int) -> Tensor:
        at = torch.arange(side, device=images.device, dtype=images.dtype)
        square = (at[:, None] - at[None]).square()
        weight = torch.exp(-square / (2 * sigma.clamp_min(1e-3).square()).view(-1, 1, 1))
        return weight / weight.sum(2, keepdim=True)

    return _both_axes(images, matrix(images.shape[2]), matrix(images.shape[3]))


def low_resolution(images: Tensor, *, share: Tensor) -> Tensor:
    """Shrink to `share` (N,) of each side by area and stretch back bilinearly; 1 leaves an image as it is."""

    def matrix(side: int) -> Tensor:
        pixels = (share * side).round().clamp(2, side).to(torch.int64)
        small, which = torch.unique(pixels, return_inverse=True)
        return torch.stack([_resampling(side, k) for k in small.tolist()]).to(images)[which]

    return _both_axes(images, matrix(images.shape[2]), matrix(images.shape[3]))


def noise(images: Tensor, *, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """White Gaussian noise of deviation `sigma` (N,) on the scale [-1, 1], clamped."""
    return add_noise(images, sigma, torch.randn(images.shape, generator=generator))


def add_noise(images: Tensor, sigma: Tensor, white: Tensor) -> Tensor:
    """`sigma` (N,) times noise that was drawn, (N, C, H, W), clamped."""
    return (images + sigma.view(-1, 1, 1, 1) * white.to(images)).clamp(-1, 1)


def jpeg(images: Tensor, *, quality: Tensor) -> Tensor:
    """What JPEG does to each channel: 8x8 DCT rounded by the luminance table at libjpeg's `quality` (N,), 1 to 100.

    Chroma is not subsampled and nothing is entropy-coded, so this is the loss without the file. From 100 up: no loss.
    """
    coded = (quality < 100).nonzero()[:, 0]
    if not len(coded):
        return images
    picked, q = images[coded], quality[coded]
    _, c, h, w = picked.shape
    padded = F.pad(picked, (0, -w % 8, 0, -h % 8), mode="replicate") * 127.5
    basis = _dct8().to(picked)
    rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.view(-1, c, rows, 8, columns, 8).transpose(3, 4)
    percent = torch.where(q < 50, 5000 / q, 200 - 2 * q).view(-1, 1, 1, 1, 1, 1)
    table = ((torch.tensor(_JPEG_LUMA, device=q.device) * percent + 50) / 100).floor().clamp(1, 255)
    coefficients = ((basis @ blocks @ basis.T) / table).round() * table
    lossy = (basis.T @ coefficients @ basis).transpose(3, 4).flatten(4, 5).flatten(2, 3)[:, :c, :h, :w]
    return images.index_copy(0, coded, (lossy / 127.5).clamp(-1, 1))


def _both_axes(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows (N, H, H) @ images (N, C, H, W) @ columns (N, W, W) transposed."""
    return rows[:, None] @ images @ columns[:, None].transpose(2, 3)


@lru_cache(maxsize=256)
def _resampling(side: int, small: int) -> Tensor:
    """(side, side) matrix that shrinks a line to `small` pixels by area and stretches it back."""
    shrunk = F.interpolate(torch.eye(side)[:, None], size=small, mode="area")
    return F.interpolate(shrunk, size=side, mode="linear", align_corners=False)[:, 0].T


@lru_cache(maxsize=1)
def _dct8() -> Tensor:
    """(8, 8) orthonormal DCT-II."""
    k, x = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    basis = torch.cos(math.pi * (2 * x + 1) * k / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis
