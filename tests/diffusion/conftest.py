"""Models small enough that a test takes a second."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from pd.config import DataSettings, ModelSettings
from pd.diffusion import export
from pd.diffusion.components import Components, build

SIZE = 16


def tiny_vae(channels: int = 4, blocks: tuple[int, ...] = (8, 8)) -> AutoencoderKL:
    """Random weights: 16 px to 8x8 latents by default."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(blocks),
            up_block_types=("UpDecoderBlock2D",) * len(blocks),
            block_out_channels=blocks,
            latent_channels=channels,
            norm_num_groups=4,
            sample_size=SIZE,
            scaling_factor=0.5,
        )
    return vae.eval()


@pytest.fixture
def data() -> DataSettings:
    return DataSettings(size=SIZE, mode="grey")


@pytest.fixture
def components(data: DataSettings) -> Components:
    """A tiny model with random weights."""
    return build(ModelSettings(unet="tiny", autoencoder="train"), data, seed=1, vae=tiny_vae())


@pytest.fixture
def base(components: Components, tmp_path: Path) -> Path:
    """A folder to fine-tune from."""
    folder = tmp_path / "base"
    export.export(components, folder)
    return folder


@pytest.fixture
def vae() -> Callable[..., AutoencoderKL]:
    return tiny_vae
