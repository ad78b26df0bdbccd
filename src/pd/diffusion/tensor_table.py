"""Arrays as columns of Arrow tables, a row of bytes an item: read back without a copy, and quicker than lists of numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pd.store.atomic import write_bytes


def to_table(arrays: Mapping[str, np.ndarray[Any, Any]]) -> pa.Table:
    """A table with a column for each array, (N, ...) with the same N; types and shapes travel in the columns' metadata."""
    fields, columns = [], []
    for name, array in arrays.items():
        data = np.ascontiguousarray(array)
        kind = pa.binary(data.itemsize * int(np.prod(data.shape[1:])))
        fields.append(pa.field(name, kind, metadata={"dtype": str(data.dtype), "shape": json.dumps(data.shape[1:])}))
        columns.append(pa.FixedSizeBinaryArray.from_buffers(kind, len(data), [None, pa.py_buffer(data.data)]))
    return pa.table(columns, schema=pa.schema(fields))


def from_table(table: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of `to_table`, read-only; of a table in one piece, without a copy."""
    arrays = {}
    for field in table.schema:
        column = table[field.name]
        piece = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        shape = (len(piece), *json.loads(field.metadata[b"shape"]))
        dtype = np.dtype(field.metadata[b"dtype"].decode())
        start = piece.offset * field.type.byte_width
        count = len(piece) * field.type.byte_width // dtype.itemsize
        arrays[field.name] = np.frombuffer(piece.buffers()[1], dtype, count, start).reshape(shape)
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> int:
    """Write arrays as a Parquet file, whole or not at all; equal arrays make equal bytes. Returns how many.

    Neither compressed nor put into a dictionary: latents are noise to both.
    """
    table, out = to_table(arrays), pa.BufferOutputStream()
    pq.write_table(table, out, compression="none", use_dictionary=False, write_statistics=False)
    data = out.getvalue()
    write_bytes(path, data)
    return int(data.size)


def read_arrays(path: Path, columns: Sequence[str] | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """What `write_arrays` wrote, read-only."""
    with pq.ParquetFile(path) as parquet:
        return from_table(parquet.read(columns=columns))
