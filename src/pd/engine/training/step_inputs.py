"""What a step is made of, for whoever reads it: the open cache, and the draws."""

import json
from typing import TYPE_CHECKING

from pd.diffusion.latents import Latents
from pd.diffusion.order import Order
from pd.engine.training.definition import Job
from pd.store.kept import at_hand

if TYPE_CHECKING:
    from pd.diffusion.objective import Batch


def open_latents(job: Job) -> Latents:
    """The latents of a finished cache."""
    at_hand(job.cache)
    facts = json.loads(job.prepared.read_text(encoding="utf-8"))
    return Latents(job.latents, facts["rows"], facts["shard_rows"], facts["window_rows"])


def drawn(job: Job, latents: Latents, order: Order, step: int, timesteps: int) -> "Batch":
    """What is drawn for a step, of the global batch."""
    from pd.diffusion.objective import draw  # and torch, which a feeder often does without

    settings = job.settings
    return draw(
        job.seed,
        step,
        batch=settings.batch,
        images=latents.rows,
        latent_shape=latents.shape,
        caption_dropout=settings.caption_dropout,
        flip=settings.flip,
        crops=settings.crop_variants if settings.crop else 1,
        deviates=latents.deviates,
        noise_offset=settings.noise_offset,
        timesteps=timesteps,
        order=order,
    )
