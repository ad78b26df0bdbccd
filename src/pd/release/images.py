"""The images of a release and the words beside them: plain PNGs in plain tables, and whatever image hides elsewhere."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pd.dataset.schema import IMAGE, image_schema
from pd.release.files import entries

_IMAGE = re.compile(rb"\x89PNG|\xff\xd8\xff|P[1-7]\s|BM|RIFF....WEBP|II\*\0|MM\0\*|GIF8", re.DOTALL)
_BATCH = 256
_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_METADATA = {b"huggingface", b"ARROW:schema"}


@dataclass(frozen=True)
class Found:
    """An encoded image and where it is: a file, or a row of one."""

    where: str
    data: bytes


def images_in(release: Path) -> Iterator[Found]:
    """Every encoded image in a release: in any binary column of a Parquet file, or a file that begins like one."""
    for path in entries(release):
        name = path.relative_to(release).as_posix()
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix == ".parquet":
            yield from _table_images(path, name)
            continue
        with path.open("rb") as file:
            start = file.read(16)
        if _IMAGE.match(start) and path.suffix not in (".safetensors", ".json", ".md", ".html", ".txt"):
            yield Found(name, path.read_bytes())


def tables(release: Path) -> list[Path]:
    """Tables of images: the kept ones, condensed ones, and samples of the model with a guarantee."""
    return [
        path for folder in ("data", "condensed/data", "formal/data") for path in sorted((release / folder).glob("*.parquet"))
    ]


def prompts_in(release: Path) -> Iterator[tuple[str, str, str]]:
    """(where, id, prompt) of every row of `data/*.parquet`; tables without these columns are left to `table_faults`."""
    for path in tables(release):
        name = path.relative_to(release).as_posix()
        try:
            with pq.ParquetFile(path) as file:
                if not {"id", "prompt"} <= set(file.schema_arrow.names):
                    continue
                row = 0
                for batch in file.iter_batches(_BATCH, columns=["id", "prompt"]):
                    for values in batch.to_pylist():
                        yield f"{name} row {row}", str(values["id"]), str(values["prompt"])
                        row += 1
        except (pa.ArrowException, OSError):
            continue


def table_faults(release: Path) -> list[str]:
    """What tables hold besides a release's columns and metadata, and rows whose image is not named by its id."""
    faults = []
    for path in tables(release):
        name = path.relative_to(release).as_posix()
        try:
            with pq.ParquetFile(path) as file:
                faults += [f"{name}: {fault}" for fault in _schema_faults(file)]
                if not faults:
                    faults += _row_faults(file, name)
        except (pa.ArrowException, OSError):
            faults.append(f"{name} cannot be read")
    return faults


def png_fault(data: bytes) -> str | None:
    """What these bytes hold besides one PNG's pixels: another format, text chunks, trailing bytes; else None."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "not a PNG"
    place, kind = 8, b""
    while place + 12 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind not in _CHUNKS:
            return "a PNG that carries metadata"
        place += 12 + length
    return None if kind == b"IEND" and place == len(data) else "a PNG that is cut short or followed by other bytes"


def _schema_faults(file: pq.ParquetFile) -> list[str]:
    schema = file.schema_arrow
    kinds = {"id": pa.string(), "image": IMAGE, "prompt": pa.string()}
    faults = [
        f"no column '{name}' of the right type"
        for name, kind in kinds.items()
        if schema.names.count(name) != 1 or schema.field(name).type != kind
    ]
    labels = {name for name in schema.names if name.startswith("label.") and schema.field(name).type == pa.float64()}
    extra = len(set(schema.names) - set(kinds) - labels)
    if extra:
        faults.append(f"{extra} columns that do not belong in a release")
    told, ours = file.metadata.metadata or {}, image_schema([]).metadata
    if set(told) - _METADATA or told.get(b"huggingface", b"") not in (b"", ours[b"huggingface"]):
        faults.append("metadata that does not belong there")
    if any(set(field.metadata or {}) - {b"PARQUET:field_id"} for field in schema):
        faults.append("metadata of a column")
    return faults


def _row_faults(file: pq.ParquetFile, name: str) -> list[str]:
    faults, row = [], 0
    for batch in file.iter_batches(_BATCH, columns=["id", "image"]):
        for values in batch.to_pylist():
            path = (values["image"] or {}).get("path")
            if path not in (None, f"{values['id']}.png"):
                faults.append(f"{name} row {row}: the image is not named by its id")
            row += 1
    return faults


def _table_images(path: Path, name: str) -> Iterator[Found]:
    try:
        with pq.ParquetFile(path) as file:
            row = 0
            for batch in file.iter_batches(_BATCH):
                columns = [_binary(column) for column in batch.columns]
                for place in range(batch.num_rows):
                    for column in columns:
                        value = column[place].as_py() if column is not None else None
                        if value is not None:
                            yield Found(f"{name} row {row + place}", value)
                row += batch.num_rows
    except (pa.ArrowException, OSError):
        return


def _binary(column: pa.Array) -> pa.Array | None:
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = column.field("bytes")
    return column if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type) else None
