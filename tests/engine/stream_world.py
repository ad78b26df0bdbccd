"""What the tests of the stream share: parts of random weights, and how candidates are made with them."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from diffusers import AutoencoderKL

from pd.config import DataSettings, GenerateSettings, ModelSettings, ReidSettings
from pd.dataset.private import PrivateDataset
from pd.diffusion.components import build
from pd.diffusion.export import export
from pd.engine.stream.candidates import generate
from pd.filters.gallery import build_gallery
from pd.filters.prompts import choose_prompts
from pd.progress import silent
from pd.reid.network import build as build_reid
from pd.reid.network import save

SIZE, SEED = 16, 7
SETTINGS = GenerateSettings(candidates=44, sampler_steps=2, guidance=1.0, shard_size=8, batch=4)


def make_world(root: Path) -> SimpleNamespace:
    """A teacher, a network and a gallery, all untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            latent_channels=4,
            norm_num_groups=4,
            sample_size=SIZE,
        ).eval()
    model = ModelSettings(unet="tiny", autoencoder="train")
    export(build(model, DataSettings(size=SIZE), seed=1, vae=vae), root / "teacher")
    images = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 1), dtype=np.uint8)
    captions, people = ["a face", "a face with glasses"] * 6, [f"p{i // 2}" for i in range(12)]
    labels = {"glasses": np.array([0.0, 1.0] * 6)}
    members = PrivateDataset([f"real{i}" for i in range(12)], images, people, ["member"] * 12, captions, labels)
    network = build_reid(ReidSettings(dim=16), seed=2).eval()
    save(network, root / "reid")
    build_gallery([network], members, root / "reid")
    prompts = choose_prompts(captions, people, labels, 3)
    return SimpleNamespace(teacher=root / "teacher", reid=root / "reid", prompts=prompts, members=members)


def make(world, out, progress=silent, preview=None, **changes):
    """Make candidates on the cluster that this process has joined; returns the stream's facts."""
    return generate(
        teacher=world.teacher,
        reid=world.reid,
        gallery=world.reid,
        prompts=world.prompts,
        settings=SETTINGS.model_copy(update=changes),
        seed=SEED,
        mode="grey",
        out=out,
        address=None,
        progress=progress,
        preview=preview,
    )


def table_of(folder):
    """All rows, in the order of the shards."""
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))])


def bytes_of(folder):
    """A digest of each shard's file."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.glob("*.parquet"))}


def logging_preview(log: Path):
    """A `preview` that adds a line to `log` for each shard that is written: its first id, and who wrote it."""

    def note(table):
        import os

        import ray

        with log.open("a") as file:
            file.write(f"{table['id'][0]} {os.getpid()} {ray.get_runtime_context().get_node_id()}\n")
        return {}

    return note


def written(log: Path) -> list[tuple[str, int, str]]:
    """First id, process and node of each shard that was written, in order of time."""
    return [(first, int(pid), node) for first, pid, node in map(str.split, log.read_text().splitlines())]
