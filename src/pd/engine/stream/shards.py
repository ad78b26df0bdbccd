"""Shards on disk: ranges of sample ids, each a Parquet file with a mark that says it is whole.

`part-00007.parquet` is written aside and renamed; then `.done/part-00007.json` tells its rows, checksum, and what it
was made from. A shard counts as finished when its mark names the present inputs and its bytes have the marked
checksum, so whatever a crash, a full disk or a stray hand left behind is made again, and nothing else.
In a run at `s3://` a shard and then its mark are brought there by who made them, and fetched to be looked at.
"""

import hashlib
import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from pd.store.atomic import disk_errors, make_folder, write_bytes, write_json
from pd.store.files import digest_file
from pd.store.mirror import pull, push

MARKS = ".done"


@dataclass(frozen=True, slots=True)
class Shard:
    """The ids from start to before stop; the index names the file."""

    index: int
    start: int
    stop: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The shard that a row of Ray Data tells of."""
        return cls(int(row["index"]), int(row["start"]), int(row["stop"]))

    @property
    def name(self) -> str:
        return f"part-{self.index:05d}"

    def micro_batches(self, batch: int) -> Iterator[range]:
        """Its ids in ranges of `batch` that begin at multiples of it, whatever the shard."""
        for first in range(self.start, self.stop, batch):
            yield range(first, min(first + batch, self.stop))


@dataclass(frozen=True)
class Mark:
    """What is known of a finished shard.

    Attributes:
        index, start, stop: the shard.
        sha256: of its file.
        size: of its file, in bytes.
        inputs: digest of all that its rows are made from.
        seconds: spent on it, by phase; `write` is its file made and on the disk, without this mark.
        bad: images that were set aside, by name and reason (other people's only).
    """

    index: int
    start: int
    stop: int
    sha256: str
    size: int
    inputs: str
    seconds: dict[str, float]
    bad: list[str]


def plan(total: int, size: int, batch: int) -> list[Shard]:
    """Cut ids 0 to `total` into shards of `size`, rounded up to whole micro-batches of `batch`."""
    size = -(-size // batch) * batch
    return [Shard(index, first, min(first + size, total)) for index, first in enumerate(range(0, total, size))]


def write_shard(
    out: Path, shard: Shard, table: pa.Table, inputs: str, seconds: dict[str, float], bad: list[str] | None = None
) -> Mark:
    """Write a shard and then its mark, each whole or not at all; `seconds` are those spent before."""
    from pd.filters.table import write_table  # torch comes with it: 300 MB, for who only hands out shards

    begin = time.perf_counter()
    buffer = io.BytesIO()
    write_table(table, buffer)
    data = buffer.getvalue()
    write_bytes(out / f"{shard.name}.parquet", data)
    digest = hashlib.sha256(data).hexdigest()
    spent = {phase: round(value, 4) for phase, value in (*seconds.items(), ("write", time.perf_counter() - begin))}
    mark = Mark(shard.index, shard.start, shard.stop, digest, len(data), inputs, spent, bad or [])
    write_json(_mark_path(out, shard), asdict(mark))
    push(out / f"{shard.name}.parquet", _mark_path(out, shard))
    return mark


def missing(out: Path, shards: list[Shard], inputs: str) -> list[Shard]:
    """The shards that are not there whole and made from `inputs`; every finished file is read and checked."""
    pull(out, broken=True)
    return [shard for shard in shards if not _finished(out, shard, inputs)]


def whole_shards(out: Path, inputs: str) -> list[Shard]:
    """The shards that are there whole and made from `inputs`, whatever plan they were made by."""
    pull(out, broken=True)
    found = []
    for file in sorted((out / MARKS).glob("*.json")):
        try:
            mark = json.loads(file.read_text(encoding="utf-8"))
            shard = Shard.of(mark)
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if _finished(out, shard, inputs):
            found.append(shard)
    return found


def bad_images(out: Path, shards: list[Shard]) -> list[str]:
    """The images that finished shards set aside."""
    return [line for shard in shards for line in json.loads(_mark_path(out, shard).read_text(encoding="utf-8"))["bad"]]


def tidy(out: Path, shards: list[Shard], todo: list[Shard]) -> None:
    """Make `out`, and remove from it what a crash left, the shards to be made again, and those of another plan."""
    with disk_errors(out):
        make_folder(out / MARKS)
        out.chmod(0o700)
        keep = {shard.name for shard in shards} - {shard.name for shard in todo}
        for path in [*out.glob("part-*"), *out.glob(".part-*"), *(out / MARKS).iterdir()]:
            if path.stem not in keep:
                path.unlink()
    push(out)


def _finished(out: Path, shard: Shard, inputs: str) -> bool:
    try:
        mark = Mark(**json.loads(_mark_path(out, shard).read_text(encoding="utf-8")))
        same = (mark.start, mark.stop, mark.inputs) == (shard.start, shard.stop, inputs)
        return same and digest_file(out / f"{shard.name}.parquet") == mark.sha256
    except (OSError, ValueError, TypeError):
        return False


def _mark_path(out: Path, shard: Shard) -> Path:
    return out / MARKS / f"{shard.name}.json"
