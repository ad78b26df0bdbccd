"""A worker that scores other people's images: decoded, scored, encoded and written here; only marks leave."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pd.config import DataSettings, GenerateSettings
from pd.dataset.decode import quiet
from pd.dataset.external import Listing, part, read_images
from pd.engine.stream.shards import Shard, write_shard
from pd.engine.stream.work import Stopwatch, done_row, use_device
from pd.filters.decide import Preview
from pd.filters.scorer import OpensGallery, Scorer
from pd.filters.table import scored_table
from pd.store.places import Place


class ImageScorer:
    """Decodes, scores and writes a shard of other people's images.

    Args:
        source: as for `pd.dataset.external.list_images`.
        reid: the re-identification network's folder.
        gallery: the member gallery's folder, or what opens it where it lies.
        data: size and mode to bring images to, and what to do with bad ones.
        settings: batch, GPUs.
        out: the folder for shards, on storage that all nodes share.
        inputs: digest of all that rows are made from.
        preview: what the filter would say of a shard, for who watches.
    """

    def __init__(
        self,
        source: Place,
        reid: Path,
        gallery: Path | OpensGallery,
        data: DataSettings,
        settings: GenerateSettings,
        out: Path,
        inputs: str,
        preview: Preview | None,
    ) -> None:
        self.scorer = Scorer(reid, gallery, use_device(settings.gpus_per_worker))
        self.source, self.data, self.batch = source, data, settings.batch
        self.out, self.inputs, self.preview = out, inputs, preview

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        shard, watch = Shard.of(row), Stopwatch()
        known = list(row["known"]) if "known" in row else None
        images = Listing(list(row["names"]), np.asarray(row["begins"]), np.asarray(row["lengths"]), known)
        found = read_images(self.source, images, self.data)  # one for all batches: a row group of Parquet is read once
        parts: list[pa.Table] = []
        bad: list[str] = []
        for ids in shard.micro_batches(self.batch):
            with watch.phase("decode"), quiet():
                good, pixels, worse = part(islice(found, len(ids)), self.data)
            bad += worse
            with watch.phase("score"):
                scores = self.scorer.score(pixels)
            with watch.phase("encode"):
                parts.append(scored_table(good, pixels, scores))
        table = pa.concat_tables(parts)
        mark = write_shard(self.out, shard, table, self.inputs, watch.seconds, bad)
        return done_row(mark, self.preview(table) if self.preview else {})
