"""Layouts of machine learning: Hugging Face's imagefolder, WebDataset, Fashion-MNIST."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pd.config import ColumnSettings, DataSettings
from pd.dataset.decode import largest_file
from pd.dataset.images import encode_png
from pd.dataset.readers.columns import is_plain, overlaid, text_columns
from pd.dataset.readers.json_lines import table_of
from pd.dataset.readers.manifest import source_of
from pd.dataset.readers.presets.tables import find
from pd.dataset.readers.source import BadRow, Row, Source
from pd.dataset.readers.table import open_table, table_in_memory
from pd.dataset.readers.tar_shards import tar_shards
from pd.errors import UserError
from pd.store.paths import walk

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
_LARGEST_IDX = 256 << 20  # ours: bytes of an unpacked file; Fashion-MNIST's largest has 47 MB


def imagefolder(settings: DataSettings) -> Source:
    """`metadata.jsonl`, `.csv` or `.parquet` beside the pictures, in one folder or several; `file_name` is relative to it."""
    folder = settings.path
    assert folder is not None
    find(folder, (*_METADATA, *(f"**/{name}" for name in _METADATA)), "metadata")
    names = [name for name, link in walk(folder) if not link and PurePosixPath(name).name in _METADATA]
    text = text_columns(settings.columns)
    records = []
    for name in names:
        table = open_table(folder / name, text)
        beside = PurePosixPath(name).parent
        kept = [field.name for field in table.schema if is_plain(field.type) or pa.types.is_list(field.type)]
        for record in table.records(kept):
            lies = record.get("file_name")
            # a name that leads out stays one: it is refused where it is read
            whole = lies if not lies or beside == PurePosixPath(".") else f"{beside}/{lies}"
            records.append({**record, "file_name": whole})
    whole_table = table_in_memory(table_of(records, str(folder)), str(folder))
    columns = overlaid(ColumnSettings(image="file_name"), settings.columns)
    files = tuple(folder / name for name in names)
    return source_of(whole_table, folder, columns, settings.identity_from, files=files)


def webdataset(settings: DataSettings) -> Source:
    """Tar shards, as `pd.dataset.readers.tar_shards` reads them."""
    assert settings.path is not None
    return tar_shards(settings.path, settings.columns, settings.identity_from, largest_file(settings))


def fashion_mnist(settings: DataSettings) -> Source:
    """IDX files, packed or not: `train-images-idx3-ubyte.gz` and its labels, and `t10k-*`. Each picture is its own person."""
    folder = settings.path
    assert folder is not None
    parts = []
    for part in ("train", "t10k"):
        found = sorted(folder.glob(f"{part}-images?idx3-ubyte*"))
        if found:
            parts.append((part, found[0], find(folder, (f"{part}-labels?idx1-ubyte*",), f"labels of {part}")))
    if not parts:
        find(folder, ("train-images-idx3-ubyte*",), "pictures")
    loaded = [(part, _idx(images, 3), _idx(labels, 1), images) for part, images, labels in parts]
    for part, images, labels, file in loaded:
        if len(images) != len(labels):
            raise UserError(
                f"{len(images)} pictures and {len(labels)} labels of {part}",
                code="unreadable-file",
                where=str(file),
                fix="fetch it again",
            )

    def rows() -> Iterator[Row | BadRow]:
        for part, images, labels, _ in loaded:
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                name = f"{part}/{number:05d}"
                kind = _CLASSES[label] if label < len(_CLASSES) else str(label)
                data = encode_png(np.ascontiguousarray(image[:, :, None]))
                yield Row(name, None, name, data, name, f"{settings.generic}, {kind}", labels={"class": kind})

    files = tuple(file for _, images, labels in parts for file in (images, labels))
    return Source(
        str(folder), sum(len(labels) for _, _, labels, _ in loaded), {"class": pa.string()}, rows, embedded=True, files=files
    )


def _idx(file: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """An array of unsigned bytes in the IDX format: two zero bytes, type 8, number of dimensions, sizes of 32 bits, values."""
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            data: bytes = stream.read(_LARGEST_IDX + 1)
    except (OSError, EOFError, zlib.error):
        raise UserError("not a readable IDX file", code="unreadable-file", where=str(file), fix="fetch it again") from None
    start = 4 + 4 * dimensions
    sizes = [int(size) for size in np.frombuffer(data[4:start], ">u4")] if len(data) >= start else []
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) - start != int(np.prod(sizes, dtype=object)) or 0 in sizes:
        raise UserError("not a readable IDX file", code="unreadable-file", where=str(file), fix="fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(sizes)
