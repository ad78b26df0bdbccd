"""The autoencoder of a latent diffusion model: pd's own public one, one fitted to given images, and batched use of any.

Both are `exact_autoencoder`s at a quarter of the resolution, with 16 latent channels for grey and 24 for RGB:

* `bundled` holds the orthonormal DCT of 4x4 blocks: of grey, all 16 coefficients, so nothing is lost; of RGB, 16 of the
  mean of the colours and the 4 lowest of each of two colour differences. No picture at all went into it.
* `train` fits the basis to the given images: the principal components of their 4x4 blocks.

Measured, torch 2.15 on a CPU (neither data set was used to make `bundled`; "excess" as in methods.md):

* grey, ORL faces at 32, 48 and 64 px: every round trip is equal to the last bit of the 8-bit picture (over 100 dB before
  rounding), so the excess re-identification of the originals is kept whole: 0.785 by thumbnails, 0.865 by an ImageNet
  encoder (20 members, 32 px). In float16 about 60 dB; in bfloat16 43 dB, and the excess stays within 0.03.
* RGB, 48 crops of scikit-learn's two sample photographs (a temple, a flower): 33.9 dB at 32 px, 35.3 dB at 64 px (worst
  crop 29.2 and 31.4); fitted to the same crops 36.5 and 37.5 dB. What is lost is fine colour; the mean of the colours is
  exact. Faces in colour were not measured.
* 64 pictures of 32 px on one thread: grey 39 ms to encode, 91 ms to decode; RGB 79 and 219 ms. Making one takes 0.1-0.5 s,
  fitting one to 200 pictures as long.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from diffusers import AutoencoderKL

from pd.dataset.images import Mode, Pixels, to_tensor
from pd.dataset.parquet_images import Images
from pd.diffusion.exact_autoencoder import BLOCK, BlockCode, exact_autoencoder, reach
from pd.errors import UserError

_COSINE, _SINE = 0.6532814824381883, 0.2705980500730985  # cos and sin of pi/8 over sqrt 2
_DCT = np.array(
    [
        [0.5, 0.5, 0.5, 0.5],
        [_COSINE, _SINE, -_SINE, -_COSINE],
        [0.5, -0.5, -0.5, 0.5],
        [_SINE, -_COSINE, _COSINE, -_SINE],
    ]
)
_LOW = [0, 1, BLOCK, BLOCK + 1]  # the coefficients of at most half a period a block
_COLOURS = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])  # Ohta, Kanade, Sakai 1980
_COLOURS /= np.sqrt([[3.0], [2.0], [6.0]])
# What each latent channel is multiplied by, rows and columns: vertical and horizontal frequency. 0.75 gives DC, four times
# the mean of a block, deviation 1 when the blocks' means have deviation 1/3. Deviations of real pictures fall with the
# frequency, about as (1 + i + j)^-1.8; half of that fall is taken back. Left as it is, noise drowns detail and samples come
# out grainy; taken back whole, the model spends itself on noise. (600 steps on the ORL faces at 32 px, excess by thumbnails:
# 0.41 as it is, 0.54 half, 0.47 three quarters.)
_SCALE = (0.75 * (1.0 + np.add.outer(np.arange(BLOCK), np.arange(BLOCK))) ** 0.9).round(4)  # the same on every machine
BATCH = 256
BATCH_PIXELS = 2**21  # of a forward: 8 pictures of 512 px, for which Stable Diffusion's autoencoder takes about 5 GB
LATENT_CHANNELS: dict[Mode, int] = {"grey": 16, "rgb": 24}


def bundled(mode: Mode, size: int = 64) -> AutoencoderKL:
    """The public autoencoder: block DCT, in the order of the frequencies, row by row; RGB's colour differences last.

    Args:
        mode: grey or rgb.
        size: the longest side of the pictures, pixels, a multiple of 8; all up to 64 have the same weights.

    Returns:
        Frozen, in eval mode; `scaling_factor` is 1, the scale is in the weights.
    """
    dct = np.kron(_DCT, _DCT)
    if mode == "grey":
        basis, scale = dct, _SCALE.reshape(-1)
    else:
        basis = np.concatenate([np.kron(c, dct if i == 0 else dct[_LOW]) for i, c in enumerate(_COLOURS)])
        low = _SCALE.reshape(-1)[_LOW]
        scale = np.concatenate([_SCALE.reshape(-1), low, low]) / np.sqrt(3.0)
    return exact_autoencoder(BlockCode(basis, np.zeros(basis.shape[1]), scale), size)


def train(images: Pixels) -> AutoencoderKL:
    """Fit an autoencoder to the given images alone: the principal components of their 4x4 blocks, solved and not iterated.

    Args:
        images: (N, H, W, C) uint8, sides multiples of 8.

    Returns:
        Frozen, in eval mode. Latents have mean 0 over the given images, and their first channel deviation 1.
    """
    return train_on_parts([images])


def train_on_parts(parts: Iterable[Pixels]) -> AutoencoderKL:
    """`train`, of images that come part by part and are never held together: only their blocks' moments are."""
    count, height, width, colours = 0, 0, 0, 0
    total = products = np.zeros(1)
    for images in parts:
        if not len(images):
            continue
        _, height, width, colours = images.shape
        _check(height, width, None)
        cells = images.reshape(-1, height // BLOCK, BLOCK, width // BLOCK, BLOCK, colours)
        blocks = cells.transpose(0, 1, 3, 5, 2, 4).reshape(-1, colours * BLOCK**2) / 127.5 - 1.0
        # Sums of float64 in [-1, 1]: no digit that a grey level could show in is lost in the difference below.
        count, total, products = count + len(blocks), total + blocks.sum(axis=0), products + blocks.T @ blocks
    if not count:
        raise UserError("an autoencoder cannot be trained on no images", code="no-images", fix="train it on one at least")
    mean = total / count
    variances, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    basis = vectors[:, ::-1][:, : LATENT_CHANNELS["grey" if colours == 1 else "rgb"]].T
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1, keepdims=True), axis=1)
    deviation = np.sqrt(max(variances[-1], 1 / 127.5**2))  # a set without contrast is not blown up beyond a grey level
    code = BlockCode(basis * np.sign(largest), mean, np.full(len(basis), 1.0 / deviation))
    return exact_autoencoder(code, max(height, width))


def encode(vae: AutoencoderKL, images: Images, batch: int = BATCH) -> torch.Tensor:
    """Latents of images: the mean of the posterior, times the scaling factor.

    Args:
        vae: any AutoencoderKL, on any device.
        images: (N, H, W, C) uint8, in memory or in files, N at least 1.
        batch: images a forward, at most; of large ones fewer, see `BATCH_PIXELS`.

    Returns:
        (N, c, h, w) float32, on the CPU.

    Raises:
        UserError: pictures of a size that this autoencoder does not take.
    """
    return posterior(vae, images, batch)[0]


def deviates(vae: AutoencoderKL) -> bool:
    """Whether latents have a deviation worth sampling.

    pd's own autoencoders have none: their log variance is the constant -30, a deviation of 3.06e-7 (measured: 3.0590e-7 of
    every latent, whose own deviation over pictures is about 1), which float32 can hardly add to a latent near 1.
    """
    return reach(vae) is None


@torch.no_grad()
def posterior(vae: AutoencoderKL, images: Images, batch: int = BATCH) -> tuple[torch.Tensor, torch.Tensor]:
    """What `encode` gives, the mean of the posterior, and its deviation: a sample is mean + deviation * noise.

    Args:
        vae: any AutoencoderKL, on any device.
        images: (N, H, W, C) uint8, in memory or in files, N at least 1.
        batch: images a forward, at most; of large ones fewer, see `BATCH_PIXELS`.

    Returns:
        mean and deviation, (N, c, h, w) float32 each, times the scaling factor, on the CPU.

    Raises:
        UserError: pictures of a size that this autoencoder does not take.
    """
    _check(images.shape[1], images.shape[2], reach(vae))
    means, deviations = [], []
    batch = _at_once(batch, images.shape[1], images.shape[2])
    for start in range(0, len(images), batch):
        pixels = to_tensor(images[start : start + batch]).to(vae.device, vae.dtype)
        found = vae.encode(pixels).latent_dist
        means.append((found.mode() * vae.config.scaling_factor).float().cpu())
        deviations.append((found.std * vae.config.scaling_factor).float().cpu())
    return torch.cat(means), torch.cat(deviations)


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: torch.Tensor, batch: int = BATCH) -> torch.Tensor:
    """Images of latents.

    Args:
        vae: any AutoencoderKL, on any device.
        latents: (N, c, h, w) float, N at least 1, as `encode` gives them.
        batch: as for `encode`.

    Returns:
        (N, 3, H, W) float32, about in [-1, 1] and not clamped, on the autoencoder's device.

    Raises:
        UserError: pictures of a size that this autoencoder does not take.
    """
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    height, width = latents.shape[2] * factor, latents.shape[3] * factor
    _check(height, width, reach(vae))
    parts, batch = [], _at_once(batch, height, width)
    for start in range(0, len(latents), batch):
        part = latents[start : start + batch].to(vae.device, vae.dtype) / vae.config.scaling_factor
        parts.append(vae.decode(part).sample.float())
    return torch.cat(parts)


def digest(vae: AutoencoderKL) -> str:
    """SHA-256 over the names and the bytes of the weights; for `bundled`, the same on every machine."""
    found = hashlib.sha256()
    for name, tensor in sorted(vae.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _at_once(batch: int, height: int, width: int) -> int:
    """The largest part of a batch that bounds memory; parts are equal, so that where an image stands does not matter."""
    most = max(1, min(batch, BATCH_PIXELS // (height * width)))
    return max(size for size in range(1, most + 1) if batch % size == 0)


def _check(height: int, width: int, longest: int | None) -> None:
    if height % 8 or width % 8:
        raise UserError(
            "sides must be multiples of 8", code="bad-size", where=f"pictures of {width}x{height}", fix="resize them"
        )
    if longest is not None and max(height, width) > longest:
        raise UserError(
            f"this autoencoder takes pictures of at most {longest} pixels a side",
            code="bad-size",
            where=f"pictures of {width}x{height}",
            fix="make it for their size",
        )
