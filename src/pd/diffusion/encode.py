"""Images to cached latents, which `latents.py` reads."""

from pathlib import Path

from diffusers import AutoencoderKL

from pd.dataset.images import Pixels
from pd.diffusion.autoencoder import deviates, posterior
from pd.diffusion.tensor_table import write_arrays
from pd.diffusion.variants import Variants


def encode_shard(vae: AutoencoderKL, images: Pixels, first: int, variants: Variants, path: Path) -> int:
    """Encode some images in all their variants and write them, whole or not at all.

    Args:
        vae: frozen, on any device.
        images: (n, H, W, C) uint8.
        first: the data set's row of the first of them.
        variants: which there are.
        path: the file: columns `mean.V`, and `deviation.V` where the autoencoder has one, (c, h, w) float32 a row.

    Returns:
        Bytes of the file.
    """
    columns = {}
    for variant in range(len(variants)):
        mean, deviation = posterior(vae, variants.apply(images, first, variant))
        columns[f"mean.{variant}"] = mean.numpy()
        if deviates(vae):
            columns[f"deviation.{variant}"] = deviation.numpy()
    return write_arrays(path, columns)
