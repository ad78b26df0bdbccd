"""Private images in: a reader's rows become one Parquet data set, split by identity; bad images are named and counted.

Two passes, so that the images are never held all at once: the first decodes, resizes and spools; the second, which
knows everybody, writes who is a member.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pd.config import DataSettings
from pd.dataset.decoded_files import Decode
from pd.dataset.decoding import Good, decoded_rows
from pd.dataset.identities import SIDE, across, contradictions
from pd.dataset.ingest_report import IngestReport, counted, refuse_bad
from pd.dataset.readers.bucket import bucket_fingerprint, fetched
from pd.dataset.readers.choose import open_source
from pd.dataset.readers.normal import alike, normal
from pd.dataset.readers.source import SECONDARY, BadRow, Row, Source, plain
from pd.dataset.schema import IMAGE, image_schema
from pd.dataset.splits import MIN_HOLDOUT, MIN_MEMBERS, check_splits, holdout_identities
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.store.atomic import write_json

SHARD_ROWS = 4096
GROUP_ROWS = 256
_SPLITS = ("member", "holdout")
_PACKAGE = Path(__file__).parents[1]


def ingest(
    settings: DataSettings,
    seed: int,
    out: Path,
    progress: Progress = silent,
    source: Source | None = None,
    decode: Decode = decoded_rows,
) -> IngestReport:
    """Write `out/part-*.parquet`, columns id, image, identity, split, caption and the labels, and `out/_ingest.json` (names).

    Args:
        settings: where the images are and how they are read.
        seed: decides who is held out, unless the source has a `split` column.
        out: an empty folder; the caller makes it appear whole.
        progress: called after each image.
        source: what is read, where it is open already.
        decode: decodes its rows; by default all cores of this machine do.

    Raises:
        UserError: a bad image where `on_bad_image` is `stop` (the first is named, all are counted), a source that
            cannot be read, or too few people.
    """
    out.mkdir(parents=True, exist_ok=True)
    if source is not None:
        return _ingest(source, settings, seed, out, progress, decode)
    with fetched(settings) as here:
        return _ingest(open_source(here), here, seed, out, progress, decode)


def _ingest(source: Source, settings: DataSettings, seed: int, out: Path, progress: Progress, decode: Decode) -> IngestReport:
    source = normal(source)
    with tempfile.TemporaryDirectory(prefix=".spool-", dir=out) as folder:
        spool = Path(folder, "spool.parquet")
        intake = _take_in(source, settings, spool, progress, decode)
        if settings.on_bad_image == "stop":
            refuse_bad(intake.bad, source.where)
        splits = _splits(intake, settings, seed, source)
        with pq.ParquetFile(spool) as spooled:
            groups = spooled.iter_batches(GROUP_ROWS)
            images, default_captions = _write_shards(groups, spooled.schema_arrow, splits, settings.generic, out)
    report = IngestReport(
        images=images,
        identities={side: sum(split == side for split in splits.values()) for side in _SPLITS},
        bad=intake.bad,
        alike=alike(splits),
        lone=sorted(name for name in splits if intake.images[name] == 1),
        ignored=source.ignored,
        left_out=source.left_out,
        of_clips=source.of_clips,
        default_captions=default_captions,
        enlarged=intake.enlarged,
        shrunk=intake.shrunk,
        coloured=intake.coloured,
        split_drawn=not source.has_split,
        labels=list(source.labels),
        notes=(*source.notes, *contradictions(out), *intake.across(splits)),
    )
    write_json(out / "_ingest.json", report.facts() | report.names())
    return report


def fingerprint(settings: DataSettings) -> str:
    """16 hex digits that change when the source does: by names, sizes and times of its files, which costs no reading.

    Raises:
        UserError: the source cannot be read.
    """
    if found := bucket_fingerprint(settings):
        return found
    source = open_source(settings)
    whole = sha256()
    for file in _files(source):
        if file.is_relative_to(_PACKAGE):  # of pd itself, which every job of a cluster unpacks anew: its content counts
            whole.update(file.read_bytes())
            continue
        try:
            info = file.stat()
            whole.update(f"{file}\0{info.st_size}\0{info.st_mtime_ns}\n".encode(errors="surrogatepass"))
        except (OSError, ValueError):
            whole.update(f"{file}\0missing\n".encode(errors="surrogatepass"))
    return whole.hexdigest()[:16]


def _files(source: Source) -> Iterator[Path]:
    yield from source.files
    if not source.embedded:
        for row in source.rows():
            if isinstance(row, Row) and isinstance(row.data, Path):
                yield row.data


@dataclass
class _Intake:
    """What the first pass learns.

    Attributes:
        bad: images that cannot be used.
        images: identity -> images that can be decoded and are no duplicates.
        enlarged: how many of these were smaller than `data.size`.
        shrunk: how many were larger.
        coloured: how many had colours that `data.mode` takes away.
        splits: identity -> the split column's word.
        thumbnails: of the images that can be decoded and are no duplicates, one after the other.
        shown: who is in each of these.
    """

    bad: list[BadRow] = field(default_factory=list)
    images: Counter[str] = field(default_factory=Counter)
    enlarged: int = 0
    shrunk: int = 0
    coloured: int = 0
    splits: dict[str, str] = field(default_factory=dict)
    thumbnails: bytearray = field(default_factory=bytearray)
    shown: list[str] = field(default_factory=list)

    def across(self, splits: Mapping[str, str]) -> list[str]:
        """Near-copies between members and hold-out people, in words."""
        known = [row for row, name in enumerate(self.shown) if name in splits]
        images = np.frombuffer(self.thumbnails, np.uint8).reshape(-1, SIDE * SIDE)[known]
        names = [self.shown[row] for row in known]
        return across(images, names, np.array([splits[name] == "holdout" for name in names], bool))


def _take_in(source: Source, settings: DataSettings, spool: Path, progress: Progress, decode: Decode) -> _Intake:
    """First pass: decode every row into the spool, without a split; say which are bad."""
    intake = _Intake()
    seen: dict[bytes, str] = {}
    few: defaultdict[str, list[tuple[str, int | None]]] = defaultdict(list)
    text = pa.string()
    own = [("id", text), ("image", IMAGE), ("identity", text), ("split", text), ("caption", text)]
    schema = image_schema([*own, *source.labels.items()])
    with pq.ParquetWriter(spool, schema) as writer:
        records = []
        checked = _check_split_column(source.rows(), source, intake.splits)
        for done, item in enumerate(decode(checked, settings), start=1):
            progress(done, source.total, {"bad": len(intake.bad)})
            if isinstance(item, BadRow):
                intake.bad.append(item)
                continue
            row = item.row
            if item.digest in seen:
                intake.bad.append(BadRow(row.name, row.number, "duplicate", f"the same picture as {seen[item.digest]}"))
                continue
            seen[item.digest] = f"row {row.number}" if row.number is not None else plain(row.name)
            intake.images[row.identity] += 1
            intake.thumbnails += item.thumbnail
            intake.shown.append(row.identity)
            intake.enlarged += item.growth > 1
            intake.shrunk += item.growth < 1
            intake.coloured += item.coloured
            if intake.images[row.identity] < settings.min_images:
                few[row.identity].append((row.name, row.number))
            else:
                few.pop(row.identity, None)
            records.append(_record(item))
            if len(records) == GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(records, schema))
                records = []
        writer.write_table(pa.Table.from_pylist(records, schema))
    for identity, rows in few.items():
        detail = f"identity {plain(identity)} has {len(rows)}, data.min_images is {settings.min_images}"
        intake.bad.extend(BadRow(name, number, "too few images", detail) for name, number in rows)
    return intake


def _record(good: Good) -> dict[str, object]:
    """A row of the spool. The image goes by its id: a source's paths often hold names of people."""
    own = {
        "id": good.id,
        "image": {"bytes": good.png, "path": f"{good.id}.png"},
        "identity": good.row.identity,
        "caption": good.row.caption,
    }
    return {**good.row.labels, **own}


def _check_split_column(rows: Iterator[Row | BadRow], source: Source, splits: dict[str, str]) -> Iterator[Row | BadRow]:
    """Pass rows on, noting who is on which side.

    Raises:
        UserError: a word other than member and holdout, or a person on both sides.
    """
    for row in rows:
        if source.has_split and isinstance(row, Row):
            where = f"{source.where}, row {row.number}"
            if row.split not in _SPLITS:
                raise UserError(
                    f"unknown split '{plain(row.split or '')}'",
                    code="bad-row",
                    where=where,
                    fix="write member or holdout, or say in data.columns.members which words mean member",
                )
            if splits.setdefault(row.identity, row.split) != row.split:
                raise UserError(
                    f"identity '{plain(row.identity)}' is both member and holdout",
                    code="bad-row",
                    where=where,
                    fix="all images of a person belong to one side",
                )
        yield row


def _splits(intake: _Intake, settings: DataSettings, seed: int, source: Source) -> dict[str, str]:
    """Identity -> member or holdout, for everybody who has enough usable images."""
    people = [name for name, count in intake.images.items() if count >= settings.min_images]
    out = [*([counted(intake.bad)] if intake.bad else []), *(f"{n} {kind} left out" for kind, n in source.left_out.items())]
    bad = f" ({', '.join(out)})" if out else ""
    if not people:
        fix = "data.dicom.secondary: read takes secondary captures" if SECONDARY in source.left_out else ""
        raise UserError(f"no usable image{bad}", code="no-images", where=source.where, fix=fix)
    if len(people) == 1:
        raise UserError(
            f"one identity only, '{plain(people[0])}'{bad}",
            code="too-few-people",
            where=source.where,
            fix=f"a run needs at least {MIN_MEMBERS + MIN_HOLDOUT} people",
        )
    if source.has_split:
        splits = {name: intake.splits[name] for name in people}
        if settings.columns.members and "member" not in intake.splits.values():
            raise UserError(
                f"no image's word for its split is one of data.columns.members ({', '.join(settings.columns.members)})",
                code="bad-options",
                where=source.where,
                fix="name words that the column holds",
            )
        check_splits(splits, source.where)
        return splits
    held = holdout_identities(people, seed, settings.holdout)
    return {name: "holdout" if name in held else "member" for name in people}


def _write_shards(
    groups: Iterator[pa.RecordBatch], schema: pa.Schema, splits: Mapping[str, str], caption: str, out: Path
) -> tuple[dict[str, int], int]:
    """Second pass: fill in split and caption, leave out people without a split, and write shards.

    Returns:
        Images of each split, and how many had no caption.
    """
    images = dict.fromkeys(_SPLITS, 0)
    default_captions = 0
    writer: pq.ParquetWriter | None = None
    shard = in_shard = 0
    for group in groups:
        kept = group.filter(pa.array([name in splits for name in group["identity"].to_pylist()], pa.bool_()))
        words = [splits[name] for name in kept["identity"].to_pylist()]
        for word in words:
            images[word] += 1
        default_captions += kept["caption"].null_count
        columns = {name: kept[name] for name in schema.names}
        columns |= {"split": pa.array(words, pa.string()), "caption": kept["caption"].fill_null(caption)}
        if writer is None or in_shard + len(kept) > SHARD_ROWS:
            if writer is not None:
                writer.close()
            writer = pq.ParquetWriter(out / f"part-{shard:05d}.parquet", schema)
            shard, in_shard = shard + 1, 0
        writer.write_table(pa.table(columns, schema=schema))
        in_shard += len(kept)
    if writer is not None:
        writer.close()
    return images, default_captions
