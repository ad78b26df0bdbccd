"""What is computed of many images, some at a time, wherever that is: in this process, or by workers of a cluster."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pd.dataset.parquet_images import Images, held_bytes
from pd.progress import Progress, silent

HERE_BYTES = 64 << 20  # of pixels; what takes more is worth the seconds in which workers start  # ours

MakeRows = Callable[[range], pa.Table]
"""Rows of these numbers, a table with a row for each; nothing in a row depends on what else is asked for."""


class RowFunction(Protocol):
    """What makes rows. It travels to workers: it holds words, numbers, arrays of moderate size and paths, and opens images and
    networks where it runs. Where each row is much work, `shard_rows` says how many one worker is given at a time.
    """

    @property
    def key(self) -> str:
        """Hexadecimal digest of everything that its rows are made from."""

    @property
    def total(self) -> int:
        """How many rows there are, 0 to total - 1; at least one."""

    @property
    def batch(self) -> int:
        """Rows that are made at a time, from multiples of it: part of the numbers' definition, not of the layout."""

    @property
    def pixel_bytes(self) -> int:
        """Bytes of all pixels that go in or come out, by which much work is told from little."""

    def open(self, device: str) -> MakeRows:
        """Load what is needed, on a torch device."""


class OfImages:
    """What row functions share that make a row of each of their `images`, (N, H, W, C) uint8 in memory or in files."""

    images: Images

    @property
    def total(self) -> int:
        return len(self.images)

    @property
    def pixel_bytes(self) -> int:
        return held_bytes(self.images)


class MapRows(Protocol):
    """Makes all rows of a function, here or elsewhere."""

    def __call__(self, function: RowFunction, name: str, progress: Progress = silent) -> pa.Table:
        """All rows in order.

        Args:
            function: makes them.
            name: of the work, where what is finished is kept; another one for each function at a time.
            progress: called as it goes.
        """


def map_here(function: RowFunction, name: str = "", progress: Progress = silent, *, device: str = "cpu") -> pa.Table:
    """All rows of a function in order, made in this process; nothing is kept if it stops."""
    make, parts = function.open(device), []
    for start in range(0, function.total, function.batch):
        stop = min(start + function.batch, function.total)
        parts.append(make(range(start, stop)))
        progress(stop, function.total, {})
    return pa.concat_tables(parts)


def columns(arrays: Mapping[str, npt.NDArray[Any]]) -> pa.Table:
    """(n,) or (n, d) arrays as a table of n rows, a column each."""
    return pa.table({name: _column(values) for name, values in arrays.items()})


def array_of(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """The array that `columns` made a column of."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # combine_chunks gives one where there is no chunk
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    values: npt.NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), column.type.list_size)


def _column(values: npt.NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])
