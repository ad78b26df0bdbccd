"""Samples of an arm: for the same prompts and noise whichever model is asked."""

from pathlib import Path

import numpy as np

from pd.config import Settings
from pd.dataset.images import Pixels
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion.sampler import Sampler
from pd.filters.prompts import Prompts
from pd.progress import Progress


def sample_model(model: Path, prompts: Prompts, settings: Settings, seed: int, progress: Progress) -> SyntheticDataset:
    """`audit.samples` images of a model, for the same prompts and noise in every arm."""
    batch = settings.generate.batch
    sampler = Sampler(model, mode=settings.data.mode, batch=batch, precision=settings.generate.precision)
    ids = list(range(settings.audit.samples))
    chosen = [prompts.prompt_of(i, seed) for i in ids]
    texts = [prompts.texts[c] for c in chosen]
    parts: list[Pixels] = []
    for start in range(0, len(ids), batch):
        rows = slice(start, start + batch)
        how = settings.generate
        parts.append(sampler.sample(ids[rows], texts[rows], seed, how.sampler_steps, how.guidance))
        progress(min(start + batch, len(ids)), len(ids), {})
    labels = {
        name: np.array([np.nan if values[c] is None else values[c] for c in chosen], dtype=np.float64)
        for name, values in prompts.labels.items()
    }
    return SyntheticDataset([f"{i:09d}" for i in ids], np.concatenate(parts), texts, labels)
