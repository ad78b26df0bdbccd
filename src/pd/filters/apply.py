"""Raw scores to decisions, shard by shard: nothing is generated or embedded again for a new threshold."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pd.config import FilterSettings
from pd.dataset.schema import IMAGE, image_schema
from pd.errors import UserError
from pd.filters.decide import Thresholds, decide, reasons_of, scores_of
from pd.filters.duplicate import SKETCH, nearly_repeated, repeated
from pd.filters.table import FAMILY, LABEL, SCORED, families_of, further_of, read_table, write_table
from pd.progress import Progress
from pd.store.atomic import write_folder

DECIDED = ("id", "seed", "prompt", "image", "score", "nearest", "near_copy", "near_copy_nearest", "keep", "reason")
KEPT_SHARD = 4096  # rows


def apply_filter(
    generated: Path | Sequence[Path],
    out: Path,
    thresholds: Thresholds,
    settings: FilterSettings,
    *,
    prompts: Collection[str] | None,
    kept: Path | None,
    progress: Progress,
) -> dict[str, Any]:
    """Decide on every scored image.

    Args:
        generated: a folder of shards with the columns of `pd.filters.table.SCORED`, or the shards, in the order of ids.
        out: becomes a folder of shards with the columns DECIDED and the labels: all images, kept and dropped. Private.
        thresholds: of the likenesses.
        settings: which checks are on.
        prompts: the k-anonymous captions; None: images from elsewhere, whose prompts are nobody's captions.
        kept: becomes a folder of what is kept, `id, image, prompt` and labels and nothing of the scores; None: not
            written.
        progress: called after each shard.

    Returns:
        `candidates`, `kept`, `threshold` (of re-identification) and `dropped`: reason -> count.

    Raises:
        UserError: there are no shards, or one lacks a column.
    """
    files = sorted(generated.glob("*.parquet")) if isinstance(generated, Path) else list(generated)
    if not files:
        where = str(generated) if isinstance(generated, Path) else None
        raise UserError("no scored images here", code="no-images", where=where, fix="run `pd generate` first")
    again = _again(files, thresholds, settings, prompts)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        folder = stack.enter_context(write_folder(out))
        release = stack.enter_context(_KeptWriter(stack.enter_context(write_folder(kept)))) if kept else None
        for number, file in enumerate(files):
            table = read_table(file)
            start = sum(counts.values())
            allowed = _allowed(table["prompt"].to_pylist(), prompts)
            scores = scores_of(table, again[start : start + len(table)], allowed)
            keep, reasons = decide(scores, settings, thresholds)
            counts.update(reasons)
            write_table(_decided(table, keep, reasons), folder / file.name)
            if release:
                release.add(table.filter(pa.array(keep)))
            progress(number + 1, len(files), {"kept": counts[""], "dropped": sum(counts.values()) - counts[""]})
    return {
        "candidates": sum(counts.values()),
        "kept": counts[""],
        "threshold": thresholds.reid,
        "dropped": {reason: counts[reason] for reason in reasons_of(thresholds)},
    }


def kept_of(
    files: Sequence[Path], thresholds: Thresholds, settings: FilterSettings, prompts: Collection[str]
) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """The prompts of all rows, and which rows `apply_filter` would keep; nothing is written."""
    again = _again(list(files), thresholds, settings, prompts)
    texts: list[str] = []
    keeps = []
    for table in map(_without_images, files):
        here = table["prompt"].to_pylist()
        scores = scores_of(table, again[len(texts) : len(texts) + len(here)], _allowed(here, prompts))
        keeps.append(decide(scores, settings, thresholds)[0])
        texts += here
    return texts, np.concatenate(keeps)


class _KeptWriter:
    """Rolls kept rows into shards of KEPT_SHARD, with the columns that may leave the custodian and no others."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._parts, self._rows, self._shards = folder, list[pa.Table](), 0, 0

    def __enter__(self) -> "_KeptWriter":
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is None and (self._rows or not self._shards):
            self._write(self._rows)

    def add(self, table: pa.Table) -> None:
        labels = _labels(table)
        fields = [
            ("id", pa.string()),
            ("image", IMAGE),
            ("prompt", pa.string()),
            *((name, pa.float64()) for name in labels),
        ]
        self._parts.append(table.select([name for name, _ in fields]).cast(image_schema(fields)))
        self._rows += len(table)
        while self._rows >= KEPT_SHARD:
            self._write(KEPT_SHARD)

    def _write(self, rows: int) -> None:
        whole = pa.concat_tables(self._parts)
        write_table(whole.slice(0, rows), self._folder / f"part-{self._shards:05d}.parquet")
        self._parts, self._rows, self._shards = [whole.slice(rows)], self._rows - rows, self._shards + 1


def _again(
    files: list[Path], thresholds: Thresholds, settings: FilterSettings, prompts: Collection[str] | None
) -> npt.NDArray[np.bool_]:
    """Which rows repeat an earlier one, as far as the settings ask."""
    again = _repeated_in(files, [f"{FAMILY}{name}" for name in thresholds.families]) & settings.duplicate
    if settings.near_duplicate is not None:
        again |= _nearly_repeated_in(files, again, thresholds, settings, prompts, settings.near_duplicate)
    return again


def _without_images(file: Path) -> pa.Table:
    return read_table(file, [name for name in pq.read_schema(file).names if name != "image"])


def _repeated_in(files: list[Path], families: list[str]) -> npt.NDArray[np.bool_]:
    """Which rows of all shards together repeat the pixels of an earlier one."""
    digests: list[str] = []
    for file in files:
        with pq.ParquetFile(file) as parquet:
            there = set(parquet.schema_arrow.names)
            if lacking := [name for name in (*SCORED, *families) if name not in there]:
                raise UserError(
                    f"no column '{lacking[0]}' of scored images",
                    code="no-such-column",
                    where=str(file),
                    fix="generate this shard again",
                )
            digests += parquet.read(columns=["pixels_sha"])["pixels_sha"].to_pylist()
    return repeated(digests)


def _nearly_repeated_in(
    files: list[Path],
    again: npt.NDArray[np.bool_],
    thresholds: Thresholds,
    settings: FilterSettings,
    prompts: Collection[str] | None,
    likeness: float,
) -> npt.NDArray[np.bool_]:
    """Which rows are nearly the same picture as an earlier one, among those that every other check would keep."""
    stays: list[npt.NDArray[np.bool_]] = []
    sketches: list[npt.NDArray[np.int8]] = []
    start = 0
    for table in map(_without_images, files):
        scores = scores_of(table, again[start : start + len(table)], _allowed(table["prompt"].to_pylist(), prompts))
        keep, _ = decide(scores, settings, thresholds)
        start += len(table)
        kept = table["sketch"].filter(pa.array(keep)).to_pylist()
        stays.append(keep)
        sketches.append(np.frombuffer(b"".join(kept), np.int8).reshape(len(kept), SKETCH))
    rows = np.concatenate(stays)
    rows[rows] = nearly_repeated(sketches, likeness)
    return rows


def _allowed(texts: list[str], prompts: Collection[str] | None) -> npt.NDArray[np.bool_]:
    allowed = None if prompts is None else set(prompts)
    return np.array([allowed is None or text in allowed for text in texts], dtype=bool)


def _decided(table: pa.Table, keep: npt.NDArray[np.bool_], reasons: list[str]) -> pa.Table:
    decided = table.append_column("keep", pa.array(keep)).append_column("reason", pa.array(reasons, pa.string()))
    decided = decided.select(
        [*DECIDED, *further_of(table), *(f"{FAMILY}{name}" for name in families_of(table)), *_labels(table)]
    )
    return decided.cast(image_schema([(field.name, field.type) for field in decided.schema]))


def _labels(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name.startswith(LABEL)]
