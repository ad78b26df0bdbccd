"""The kept images one by one, as every format has them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

LABEL = "label."
_BATCH = 256


@dataclass(frozen=True)
class Kept:
    """A kept image.

    Attributes:
        id: its name.
        png: encoded.
        prompt: what it was asked for with.
        labels: `label.NAME` -> value, what the prompt implies; without those that are missing.
    """

    id: str
    png: bytes
    prompt: str
    labels: Mapping[str, float]


def kept_rows(data: Path) -> Iterator[Kept]:
    """The rows of `release/data`, in order."""
    for path in sorted(data.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name.startswith(LABEL)]
            for batch in file.iter_batches(_BATCH, columns=["id", "image", "prompt", *names]):
                for row in batch.to_pylist():
                    labels = {name: row[name] for name in names if row[name] is not None and row[name] == row[name]}
                    yield Kept(row["id"], row["image"]["bytes"], row["prompt"], labels)
