"""Images that a generator made, with their prompts: all that a student may see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pd.dataset.images import encode_png, to_arrays
from pd.dataset.parquet_images import Images, ParquetImages, rows_of
from pd.dataset.schema import IMAGE, image_schema
from pd.errors import UserError
from pd.store.atomic import write_folder

SHARD_ROWS = 4096
GROUP_ROWS = 256  # read and written at once
_LABEL = "label."


@dataclass(frozen=True, eq=False, repr=False)
class SyntheticDataset:
    """Generated images.

    Attributes:
        ids: names of the samples.
        images: (N, H, W, C) uint8, in memory, or in the files that they were opened from.
        prompts: what each was asked to show.
        labels: name -> (N,) float64, NaN where missing; what the prompt implies.
    """

    ids: list[str]
    images: Images
    prompts: list[str]
    labels: Mapping[str, npt.NDArray[np.float64]]

    @classmethod
    def read(cls, source: Path | Sequence[Path]) -> "SyntheticDataset":
        """From a folder of Parquet files, or the files named: columns `id`, `image`, `prompt` and any `label.NAME`."""
        files = _files(source)
        images = (image for file in files for image in pq.read_table(file, columns=["image"])["image"].to_pylist())
        return cls._around(to_arrays(images), files)

    @classmethod
    def open(cls, source: Path | Sequence[Path]) -> "SyntheticDataset":
        """What `read` gives, but the images stay in their files until they are asked for."""
        files = _files(source)
        return cls._around(ParquetImages.open(files), files)

    @classmethod
    def _around(cls, images: Images, files: list[Path]) -> "SyntheticDataset":
        tables = []
        for file in files:
            names = pq.read_schema(file).names
            tables.append(pq.read_table(file, columns=["id", "prompt", *(name for name in names if name.startswith(_LABEL))]))
        table = pa.concat_tables(tables)
        floats = {
            name.removeprefix(_LABEL): table[name].cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
            for name in table.column_names
            if name.startswith(_LABEL)
        }
        return cls(table["id"].to_pylist(), images, table["prompt"].to_pylist(), floats)

    def __repr__(self) -> str:
        _, height, width, channels = self.images.shape
        return f"SyntheticDataset({len(self)} images, {height} x {width}, {'grey' if channels == 1 else 'rgb'})"

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[np.int64]) -> "SyntheticDataset":
        """The samples of these rows, in their order."""
        labels = {name: values[rows] for name, values in self.labels.items()}
        return SyntheticDataset(
            [self.ids[i] for i in rows], rows_of(self.images, rows), [self.prompts[i] for i in rows], labels
        )

    def first(self, n: int) -> "SyntheticDataset":
        """The first n samples (all of them when there are fewer)."""
        return self.take(np.arange(min(n, len(self))))

    def write(self, folder: Path) -> None:
        """Write shards of up to 4,096 images; the folder appears complete or not at all."""
        schema = image_schema(
            [("id", pa.string()), ("image", IMAGE), ("prompt", pa.string())]
            + [(f"{_LABEL}{name}", pa.float64()) for name in self.labels]
        )
        with write_folder(folder) as target:
            for shard, start in enumerate(range(0, max(len(self), 1), SHARD_ROWS)):
                stop = min(start + SHARD_ROWS, len(self))
                with pq.ParquetWriter(target / f"part-{shard:05d}.parquet", schema) as writer:
                    for at in range(start, max(stop, start + 1), GROUP_ROWS):
                        writer.write_table(self._table(slice(at, min(at + GROUP_ROWS, stop)), schema))

    def _table(self, rows: slice, schema: pa.Schema) -> pa.Table:
        """Some rows, with their images encoded."""
        ids = self.ids[rows]
        structs = [
            {"bytes": encode_png(image), "path": f"{name}.png"} for name, image in zip(ids, self.images[rows], strict=True)
        ]
        columns = [pa.array(ids, pa.string()), pa.array(structs, IMAGE), pa.array(self.prompts[rows], pa.string())]
        columns += [pa.array(values[rows], pa.float64()) for values in self.labels.values()]
        return pa.table(columns, schema=schema)


def _files(source: Path | Sequence[Path]) -> list[Path]:
    """The files of a source; raises UserError when there is none, or one lacks a column."""
    files = sorted(source.glob("*.parquet")) if isinstance(source, Path) else list(source)
    if not files:
        raise UserError(
            "no Parquet file of synthetic images", code="no-images", where=str(source) if isinstance(source, Path) else None
        )
    for file in files:
        names = pq.read_schema(file).names
        missing = [name for name in ("id", "image", "prompt") if name not in names]
        if missing:
            raise UserError(f"no column '{missing[0]}' for synthetic images", code="no-such-column", where=str(file))
    return files
