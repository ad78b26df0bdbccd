"""Many rows by workers of the cluster, in shards that survive a crash; few of them in this process.

Which of the two it is follows from the work alone, never from the number of workers: workers compute on one thread each, so
that rows are the same to the last bit for any number of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pd.dataset.mapping import HERE_BYTES, MakeRows, RowFunction, map_here
from pd.engine.runtime import connect
from pd.engine.stream.make import Crew, run_shards
from pd.engine.stream.shards import Shard, plan, write_shard
from pd.engine.stream.work import Stopwatch, done_row, use_device
from pd.progress import Progress, silent
from pd.store.kept import discard
from pd.store.run import Run

SHARD_ROWS = 256  # at least: what a crash can cost a worker  # ours


@dataclass(frozen=True)
class Mapper:
    """Makes the rows of functions (`pd.dataset.mapping.MapRows`).

    Attributes:
        work: a folder on storage that all nodes share, for shards; private.
        crew: the workers.
        run: what is worked on: all machines must see it; None: nothing that is a run.
        reads: paths of the run that functions read, fetched by each worker where the run is in a bucket.
    """

    work: Path
    crew: Crew
    run: Run | None
    reads: tuple[Path, ...] = ()

    def __call__(self, function: RowFunction, name: str, progress: Progress = silent) -> pa.Table:
        """All rows in order; shards that are finished and whole are not made again.

        Raises:
            UserError: workers do not fit, one raised it, or shards are missing in the end.
        """
        if function.pixel_bytes <= HERE_BYTES:
            return map_here(function, name, progress, device=self._device())
        connect(self.crew.address, self.run)
        return map_rows(function, self.work / name, crew=self.crew, reads=self.reads, progress=progress)

    def tables(self, function: RowFunction, name: str, rows: int, progress: Progress = silent) -> Iterator[pa.Table]:
        """All rows in order, `rows` or so at a time, so that they are never held together.

        Raises:
            UserError: as `__call__`.
        """
        if function.pixel_bytes <= HERE_BYTES:
            make = function.open(self._device())
            for start in range(0, function.total, function.batch):
                stop = min(start + function.batch, function.total)
                yield make(range(start, stop))
                progress(stop, function.total, {})
            return
        connect(self.crew.address, self.run)
        out = self.work / name
        for shard in _shards(function, out, self.crew, self.reads, progress, rows):
            yield _read(out / f"{shard.name}.parquet")

    def done(self) -> None:
        """Remove the shards: what was made of them is written."""
        discard(self.work, must=False)

    def _device(self) -> str:
        import torch  # slow to import, and who only hands out shards does without

        return "cuda" if self.crew.gpus and torch.cuda.is_available() else "cpu"


def map_rows(
    function: RowFunction, out: Path, *, crew: Crew, reads: tuple[Path, ...] = (), progress: Progress = silent
) -> pa.Table:
    """All rows of a function in order, made by workers.

    Args:
        function: makes them.
        out: a folder for shards, on storage that all nodes share.
        crew: the workers.
        reads: paths of the run to fetch first, where the run is in a bucket.
        progress: called after each shard.

    Raises:
        UserError: workers do not fit, one raised it, or shards are missing in the end.
    """
    return pa.concat_tables([_read(out / f"{shard.name}.parquet") for shard in _shards(function, out, crew, reads, progress)])


def _shards(
    function: RowFunction, out: Path, crew: Crew, reads: tuple[Path, ...], progress: Progress, rows: int = SHARD_ROWS
) -> list[Shard]:
    """Shards of a function, made by workers."""
    shards = plan(function.total, getattr(function, "shard_rows", rows), function.batch)
    arguments = {"function": function, "gpus": crew.gpus}
    run_shards(_Maker, arguments, shards, asdict, crew=crew, out=out, inputs=function.key, reads=reads, progress=progress)
    return shards


def _read(file: Path) -> pa.Table:
    with pq.ParquetFile(file) as parquet:
        return parquet.read().replace_schema_metadata()


class _Maker:
    """A worker: makes the rows of a shard and writes them; only marks leave."""

    def __init__(self, function: RowFunction, gpus: float, out: Path, inputs: str) -> None:
        self._function, self._out, self._inputs = function, out, inputs
        self._make: MakeRows = function.open(use_device(gpus))

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        shard, watch = Shard.of(row), Stopwatch()
        with watch.phase("compute"):
            table = pa.concat_tables([self._make(rows) for rows in shard.micro_batches(self._function.batch)])
        return done_row(write_shard(self._out, shard, table, self._inputs, watch.seconds), {})
