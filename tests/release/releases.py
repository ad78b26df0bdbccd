"""A release made by hand for tests: real layout, small random weights."""

import json

import numpy as np
from safetensors.numpy import save_file

from pd.config import ModelSettings, Settings
from pd.dataset.images import encode_png
from pd.dataset.private import PrivateDataset
from pd.dataset.schema import IMAGE, image_schema
from pd.dataset.synthetic import SyntheticDataset
from pd.release.lineage import write_lineage
from pd.report.card import write_card
from pd.report.html import render_release_report
from pd.store.atomic import write_folder, write_json

FILES = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


def private_dataset(faces, captions):
    """Half the people members, half held out."""
    images, people = faces
    splits = ["member" if int(person[1:]) <= 20 else "holdout" for person in people]
    labels = {name: np.array([float(name in caption) for caption in captions]) for name in ("glasses", "beard")}
    return PrivateDataset([f"{i:016x}" for i in range(len(people))], images, list(people), splits, captions, labels)


def write_private(dataset, folder):
    """As `ingest` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = ("id", "identity", "split", "caption")
    structs = [{"bytes": encode_png(image), "path": None} for image in dataset.images]
    columns = (dataset.ids, dataset.identities, dataset.splits, dataset.captions)
    arrays = {"image": pa.array(structs, IMAGE)} | {n: pa.array(c) for n, c in zip(text, columns, strict=True)}
    arrays |= {name: pa.array(values) for name, values in dataset.labels.items()}
    with write_folder(folder) as target:
        schema = image_schema([(name, array.type) for name, array in arrays.items()])
        pq.write_table(pa.table(list(arrays.values()), schema=schema), target / "part-00000.parquet")


def write_model(folder, seed, settings, data):
    """Components of random tensors, and their lineage."""
    rng = np.random.default_rng(seed)
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    for part, name in FILES.items():
        write_json(folder / part / "config.json", {})
        tensors = {f"{part}.weight": rng.normal(size=(4, 4)).astype(np.float32), "bias": np.zeros(4, np.float32)}
        save_file(tensors, folder / part / f"{name}.safetensors", metadata={"format": "pt"})
    write_json(folder / "tokenizer" / "vocab.json", {"a": 0})
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    write_json(folder / "scheduler" / "scheduler_config.json", {})
    write_lineage(folder, settings, data)


def write_release(folder, images, prompts, audit, settings=None):
    """A release of kept images (N, H, W, C) uint8 with their prompts."""
    folder.mkdir()
    names = [f"{i:08d}" for i in range(len(images))]
    SyntheticDataset(names, images, prompts, {"glasses": np.zeros(len(images))}).write(folder / "data")
    write_model(folder / "model", 1, settings or ModelSettings(autoencoder="train"), folder / "data")
    write_json(folder / "audit.json", audit.as_json())
    card = {"name": "faces", "kept": len(images), "size": images.shape[1], "mode": "grey", "prompts": prompts}
    render_release_report("faces", audit, Settings(), folder / "report.html")
    write_card(folder / "README.md", audit, prompt_k=3, sampler_steps=4, guidance=1.0, **card)


def edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
