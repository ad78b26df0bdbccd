"""What must be there before the first step: the model, and a finished cache of latents and text."""

import torch

from pd.diffusion.components import Components
from pd.diffusion.latents import Latents
from pd.engine.training.dataset_reference import receive
from pd.engine.training.definition import Job
from pd.engine.training.encode import encode_here, shard_rows
from pd.engine.training.prepare_model import lay_ground, rebuild
from pd.engine.training.progress_file import ProgressWriter
from pd.store.kept import at_hand, discard, keep, keep_json, there

WINDOW_BYTES = 2**30  # of latents that a reader holds, two at most; a smaller cache is one window, shuffled as a whole


def prepare(job: Job, device: torch.device, log: ProgressWriter) -> Components:
    """Build the model and finish the cache, unless an earlier attempt did; the inputs then go. Rank 0 only.

    Raises:
        UserError: settings, base, images and captions do not fit together.
    """
    at_hand(job.cache)
    if there(job.prepared):
        return rebuild(job)
    images = receive(job.inputs)
    log.write(0, len(images), phase="preparing")
    parts = lay_ground(job, images, device)
    encode_here(job, parts.vae.to(device), images, log)
    parts.vae.cpu()
    latents = Latents(job.latents, len(images), shard_rows(job))
    window_rows = max(1, WINDOW_BYTES // latents.row_bytes)
    keep(job.cache)
    keep_json(job.prepared, {"rows": latents.rows, "shard_rows": latents.shard_rows, "window_rows": window_rows})
    discard(job.inputs)
    return parts
