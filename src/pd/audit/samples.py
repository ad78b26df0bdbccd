"""Samples of an arm: for the same prompts and noise whichever model is asked."""

from pathlib import Path

import numpy as np

from pd.config import Settings
from pd.dataset.images import to_arrays
from pd.dataset.mapping import MapRows, map_here
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion.mapped import Samples
from pd.filters.prompts import Prompts
from pd.progress import Progress


def sample_model(
    model: Path, prompts: Prompts, settings: Settings, seed: int, progress: Progress, map_rows: MapRows = map_here
) -> SyntheticDataset:
    """`audit.samples` images of a model, for the same prompts and noise in every arm.

    Args:
        model: a diffusers folder.
        prompts: what samples are asked for.
        settings: of the run; how it samples, and how many are audited.
        seed: of the samples.
        progress: called as it goes.
        map_rows: makes them; by default this process.
    """
    how, total = settings.generate, settings.audit.samples
    chosen = [prompts.prompt_of(row, seed) for row in range(total)]
    texts = [prompts.texts[c] for c in chosen]
    samples = Samples(
        model=model.absolute(),
        prompts=texts,
        seed=seed,
        mode=settings.data.mode,
        size=settings.data.size,
        steps=how.sampler_steps,
        guidance=how.guidance,
        batch=how.batch,
        precision=how.precision,
    )
    made = map_rows(samples, f"samples-{samples.key}", progress)
    labels = {
        name: np.array([np.nan if values[c] is None else values[c] for c in chosen], dtype=np.float64)
        for name, values in prompts.labels.items()
    }
    return SyntheticDataset([f"{row:09d}" for row in range(total)], to_arrays(made["image"]), texts, labels)
