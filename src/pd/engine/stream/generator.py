"""A worker that makes candidates. Pixels are sampled, scored, encoded and written here; only marks leave."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pd.config import GenerateSettings
from pd.dataset.images import Mode
from pd.diffusion.sampler import Sampler
from pd.engine.stream.shards import Shard, write_shard
from pd.engine.stream.work import Stopwatch, done_row, use_device
from pd.filters.decide import Preview
from pd.filters.prompts import Prompts
from pd.filters.scorer import OpensGallery, Scorer
from pd.filters.table import scored_table
from pd.seeds import derive


class Generator:
    """Samples, scores and writes the candidates of a shard.

    Args:
        teacher: a diffusers folder.
        reid: the re-identification network's folder.
        gallery: the member gallery's folder, or what opens it where it lies.
        prompts: what samples are asked for.
        settings: steps, guidance, batch, GPUs.
        seed: of the whole set.
        mode: grey or rgb.
        out: the folder for shards, on storage that all nodes share.
        inputs: digest of all that rows are made from.
        preview: what the filter would say of a shard, for who watches.
    """

    def __init__(
        self,
        teacher: Path,
        reid: Path,
        gallery: Path | OpensGallery,
        prompts: Prompts,
        settings: GenerateSettings,
        seed: int,
        mode: Mode,
        out: Path,
        inputs: str,
        preview: Preview | None,
    ) -> None:
        device = use_device(settings.gpus_per_worker)
        self.sampler = Sampler(teacher, mode=mode, batch=settings.batch, device=device, precision=settings.precision)
        self.scorer = Scorer(reid, gallery, device)
        self.prompts, self.settings, self.seed = prompts, settings, seed
        self.out, self.inputs, self.preview = out, inputs, preview

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        shard, watch = Shard.of(row), Stopwatch()
        parts = [self._make(ids, watch) for ids in shard.micro_batches(self.settings.batch)]
        table = pa.concat_tables(parts)
        mark = write_shard(self.out, shard, table, self.inputs, watch.seconds)
        return done_row(mark, self.preview(table) if self.preview else {})

    def _make(self, ids: range, watch: Stopwatch) -> pa.Table:
        asked = [self.prompts.prompt_of(sample, self.seed) for sample in ids]
        texts = [self.prompts.texts[at] for at in asked]
        labels = {name: [values[at] for at in asked] for name, values in self.prompts.labels.items()}
        with watch.phase("sample"):
            noise_seed = derive(self.seed, "noise")
            images = self.sampler.sample(list(ids), texts, noise_seed, self.settings.sampler_steps, self.settings.guidance)
        with watch.phase("score"):
            scores = self.scorer.score(images)
        with watch.phase("encode"):
            names = [f"{sample:09d}" for sample in ids]
            return scored_table(names, images, scores, seed=self.seed, prompts=texts, labels=labels)
