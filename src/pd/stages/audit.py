"""Audit: sample every arm, attack it, and write what it leaks to `release/audit.json`."""

import json
from pathlib import Path

import numpy as np

from pd.audit.run import audit
from pd.config import Settings
from pd.dataset.images import Pixels, from_tensor
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion import autoencoder
from pd.diffusion.export import load
from pd.diffusion.sampler import Sampler
from pd.filters.prompts import Prompts
from pd.progress import Progress
from pd.stages.base import Context, Facts
from pd.stages.prompts import prompts_of
from pd.store.atomic import write_folder, write_json


def execute(context: Context) -> Facts:
    run, settings, reporter = context.run, context.settings, context.reporter
    real = PrivateDataset.read(run.dataset)
    prompts = prompts_of(real, settings)
    arms: dict[str, SyntheticDataset] = {}
    with write_folder(run.all_samples) as folder:
        for arm in settings.audit.arms:
            if arm == "teacher":  # the candidates are its samples already
                samples = SyntheticDataset.read(sorted(run.generated.glob("*.parquet"))).first(settings.audit.samples)
            else:
                model = run.model if arm == "filtered" else run.arm(arm)
                with reporter.task(f"{arm} samples") as progress:
                    samples = sample(model, prompts, settings, context.seed("samples"), progress)
            samples.write(folder / arm)
            arms[arm] = samples
    members = real.members()
    with reporter.task("audit") as progress:
        figures = audit(real, arms, _round_trip(run.teacher, members.images, settings), settings.audit, settings.seed, progress)
    counts = json.loads(run.filter_counts.read_text(encoding="utf-8"))
    figures["filter"] = {key: counts[key] for key in ("candidates", "kept", "threshold", "dropped")}
    write_json(run.release_audit, figures)
    return {arm: round(found["reid"]["excess"]["value"], 4) for arm, found in figures["arms"].items()}


def sample(model: Path, prompts: Prompts, settings: Settings, seed: int, progress: Progress) -> SyntheticDataset:
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


def _round_trip(model: Path, images: Pixels, settings: Settings) -> Pixels:
    """Images through the teacher's autoencoder and back: what of a person it can carry at all."""
    vae = load(model).vae
    return from_tensor(autoencoder.decode(vae, autoencoder.encode(vae, images)), settings.data.mode)
