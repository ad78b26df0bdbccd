"""Images and captions on their way from the driver to the workers, without torch: a driver need not import it.

Pixels that lie in files stay there, and only the files' names and rows travel; those of an array are written down first.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pd.config.mirrored import packed, unpacked
from pd.dataset.images import encode_png
from pd.dataset.parquet_images import ParquetImages
from pd.dataset.schema import IMAGE
from pd.diffusion.data import TrainingData
from pd.store.kept import at_hand, keep_bytes

GROUP_ROWS = 256


def hand_over(images: TrainingData, folder: Path) -> None:
    """Keep what `receive` needs in a folder, each file whole or not at all."""
    pixels = images.images
    if not isinstance(pixels, ParquetImages):
        held = [{"bytes": encode_png(image), "path": f"{row}.png"} for row, image in enumerate(pixels)]
        _write(pa.table({"image": pa.array(held, IMAGE)}), folder / "images.parquet")
        pixels = ParquetImages.open([folder.absolute() / "images.parquet"])
    files = json.dumps([packed(file.absolute()) for file in pixels.files])
    table = pa.table({"row": pa.array(pixels.rows), "caption": pa.array(images.captions, pa.string())})
    _write(table.replace_schema_metadata({"files": files}), folder / "rows.parquet")


def receive(folder: Path) -> TrainingData:
    """What `hand_over` was given; pixels are read when they are asked for."""
    captions = pq.read_table(at_hand(folder) / "rows.parquet", columns=["caption"])["caption"].to_pylist()
    return TrainingData(receive_images(folder), captions)


def receive_images(folder: Path) -> ParquetImages:
    """The images of `receive` alone."""
    table = pq.read_table(at_hand(folder) / "rows.parquet", columns=["row"])
    files = [unpacked(file) for file in json.loads(table.schema.metadata[b"files"])]
    for held in {file.parent for file in files}:
        at_hand(held)
    images = ParquetImages.open(files)
    return images.take(table["row"].to_numpy())


def _write(table: pa.Table, path: Path) -> None:
    out = pa.BufferOutputStream()
    pq.write_table(table, out, row_group_size=None if "row" in table.column_names else GROUP_ROWS)
    keep_bytes(path, out.getvalue())
