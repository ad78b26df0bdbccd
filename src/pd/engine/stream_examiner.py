"""A worker that scores other people's images: decoded, scored, encoded and written here; only marks leave."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pd.config import DataSettings, GenerateSettings
from pd.dataset.decode import BadImage, quiet
from pd.dataset.foreign import read_images
from pd.dataset.images import Pixels
from pd.dataset.readers.source import plain
from pd.engine.shards import Shard, write_shard
from pd.engine.stream_work import Stopwatch, done_row, use_device
from pd.filters.decide import Foretell
from pd.filters.scorer import Scorer
from pd.filters.table import scored_table


class Examiner:
    """Decodes, scores and writes a shard of other people's images.

    Args:
        source: as for `pd.dataset.foreign.list_images`.
        reid: the re-identification network's folder.
        gallery: the member gallery's folder.
        data: size and mode to bring images to, and what to do with bad ones.
        settings: batch, GPUs.
        out: the folder for shards, on storage that all nodes share.
        inputs: digest of all that rows are made from.
        foretell: what the filter would say of a shard, for who watches.
    """

    def __init__(
        self,
        source: Path,
        reid: Path,
        gallery: Path,
        data: DataSettings,
        settings: GenerateSettings,
        out: Path,
        inputs: str,
        foretell: Foretell | None,
    ) -> None:
        self.scorer = Scorer(reid, gallery, use_device(settings.gpus_per_worker))
        self.source, self.data, self.batch = source, data, settings.batch
        self.out, self.inputs, self.foretell = out, inputs, foretell

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        shard, names, watch = (
            Shard(int(row["index"]), int(row["start"]), int(row["stop"])),
            list(row["names"]),
            Stopwatch(),
        )
        parts: list[pa.Table] = []
        bad: list[str] = []
        for ids in shard.micro_batches(self.batch):
            here = names[ids.start - shard.start : ids.stop - shard.start]
            with watch.phase("decode"), quiet():
                good, images = self._decode(here, bad)
            with watch.phase("score"):
                scores = self.scorer.score(images)
            with watch.phase("encode"):
                parts.append(scored_table(good, images, scores))
        table = pa.concat_tables(parts)
        mark = write_shard(self.out, shard, table, self.inputs, watch.seconds, bad)
        return done_row(mark, self.foretell(table) if self.foretell else {})

    def _decode(self, names: Sequence[str], bad: list[str]) -> tuple[list[str], Pixels]:
        """Names and pixels, (n, H, W, C) uint8, of those that can be decoded; `bad` gets a line for each other one."""
        good, images = [], []
        for name, found in read_images(self.source, names, self.data):
            if isinstance(found, BadImage):
                bad.append(f"{plain(name)}: {found}")
            else:
                good.append(name)
                images.append(found)
        shape = (self.data.size, self.data.size, 1 if self.data.mode == "grey" else 3)
        return good, np.stack(images) if images else np.zeros((0, *shape), np.uint8)
