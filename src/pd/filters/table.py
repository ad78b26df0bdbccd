"""The columns of scored images, in Parquet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pd.dataset.images import Pixels, encode_png
from pd.dataset.schema import IMAGE, image_schema
from pd.filters.duplicate import SKETCH, pixels_digest
from pd.filters.scorer import Scores

SCORED = {
    "id": pa.string(),
    "seed": pa.int64(),
    "prompt": pa.string(),
    "image": IMAGE,
    "score": pa.float32(),
    "nearest": pa.string(),
    "near_copy": pa.float32(),
    "near_copy_nearest": pa.string(),
    "pixels_sha": pa.string(),
    "sketch": pa.binary(SKETCH),
}
LABEL = "label."
_REPEATED = ("seed", "prompt", "nearest", "near_copy_nearest", "reason")  # few values each
FAMILY = "family."  # and its name: the likeness in a learned space
FURTHER = "score_"  # and a number from 2: the further networks that vote


def further_of(table: pa.Table) -> list[str]:
    """Names of the columns of further networks, in their order."""
    names = [name for name in table.column_names if name.startswith(FURTHER)]
    return sorted(names, key=lambda name: int(name.removeprefix(FURTHER)))


def families_of(table: pa.Table) -> list[str]:
    """Names of the learned spaces that images were scored in."""
    return [name.removeprefix(FAMILY) for name in table.column_names if name.startswith(FAMILY)]


def scored_table(
    ids: Sequence[str],
    images: Pixels,
    scores: Scores,
    *,
    seed: int | None = None,
    prompts: Sequence[str] | None = None,
    labels: Mapping[str, Sequence[float | None]] | None = None,
) -> pa.Table:
    """N scored images as a table, each with all that any later decision needs.

    Args:
        ids: their names.
        images: (N, H, W, C) uint8.
        scores: their likeness to the members.
        seed: the run's; None for images from elsewhere.
        prompts: what was asked for; None for images from elsewhere.
        labels: name -> N values; they become columns `label.NAME`.
    """
    labels = labels or {}
    structs = [{"bytes": encode_png(image), "path": _file_name(name)} for name, image in zip(ids, images, strict=True)]
    columns = {
        "id": list(ids),
        "seed": [seed] * len(ids),
        "prompt": list(prompts) if prompts is not None else [""] * len(ids),
        "image": structs,
        "score": scores.score,
        "nearest": scores.nearest,
        "near_copy": scores.near_copy,
        "near_copy_nearest": scores.near_copy_nearest,
        "pixels_sha": [pixels_digest(image) for image in images],
        "sketch": [sketch.tobytes() for sketch in scores.sketch],
    }
    fields = list(SCORED.items()) + [(f"{FURTHER}{k}", pa.float32()) for k in range(2, scores.further.shape[1] + 2)]
    fields += [(f"{FAMILY}{name}", pa.float32()) for name in scores.families]
    fields += [(f"{LABEL}{name}", pa.float64()) for name in labels]
    arrays = [pa.array(columns[name], kind) for name, kind in SCORED.items()]
    arrays += [pa.array(likeness, pa.float32()) for likeness in scores.further.T]
    arrays += [pa.array(likeness, pa.float32()) for likeness in scores.families.values()]
    arrays += [pa.array(values, pa.float64()) for values in labels.values()]
    return pa.table(arrays, schema=image_schema(fields))


def write_table(table: pa.Table, where: Path | IO[bytes]) -> None:
    """Write rows with an `image` as Parquet; encoded images are not compressed again, which costs time and saves nothing."""
    leaves = [
        f"{field.name}.{field.type.field(k).name}" if pa.types.is_struct(field.type) else field.name
        for field in table.schema
        for k in range(max(1, field.type.num_fields))
    ]
    codec = {leaf: "none" if leaf == "image.bytes" else "zstd" for leaf in leaves}
    pq.write_table(table, where, compression=codec, use_dictionary=[leaf for leaf in leaves if leaf in _REPEATED])


def read_table(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A shard, or some of its columns. For many small files pyarrow's data sets, which `pq.read_table` opens, take longer."""
    with pq.ParquetFile(file) as parquet:
        return parquet.read(columns=columns)


def _file_name(name: str) -> str:
    return name if "." in name else f"{name}.png"
