"""What the training loop reads: latents and tokens, made once from images and captions, and kept in safetensors."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from pd.diffusion import autoencoder, components
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import Components
from pd.diffusion.data import TrainingData
from pd.diffusion.objective import Batch
from pd.engine.train_handover import receive, write_whole
from pd.engine.train_job import Job
from pd.engine.train_progress import ProgressWriter
from pd.seeds import derive
from pd.store.atomic import write_folder


def prepare(job: Job, device: torch.device, log: ProgressWriter) -> Components:
    """Build the model and write the cache, unless an earlier attempt did; the inputs then go. Rank 0 only.

    Raises:
        UserError: settings, base, images and captions do not fit together.
    """
    if job.cache.exists():
        return rebuild(job)
    log.write(0, job.settings.steps, phase="preparing")
    images = receive(job.inputs)
    vae = _trained_autoencoder(job, images) if job.settings.autoencoder == "train" else None
    parts = components.build(job.settings, job.data, derive(job.seed, "weights"), vae)
    write_whole(job.cache, lambda aside: save_file(_tensors(job, parts, images, device), aside))
    job.inputs.unlink()
    return parts


def rebuild(job: Job) -> Components:
    """The model before its training, on ranks that prepared nothing."""
    vae = None
    if job.settings.autoencoder == "train":
        vae = AutoencoderKL.from_pretrained(job.autoencoder, local_files_only=True)
    return components.build(job.settings, job.data, derive(job.seed, "weights"), vae)


class Inputs:
    """The cache, read where it lies (ranks on one machine share the pages).

    Args:
        job: with a finished cache.
        device: where batches go.

    Attributes:
        truncated_captions: how many images have a caption that was cut.
    """

    def __init__(self, job: Job, device: torch.device) -> None:
        self._device = device
        tensors = load_file(job.cache)
        self._latents, self._rows, self._text = tensors["latents"], tensors["rows"], tensors["text"]
        self._mirrored = tensors.get("mirrored")
        self.truncated_captions = int(tensors["truncated"])

    def __len__(self) -> int:
        return len(self._latents)

    def take(self, batch: Batch) -> tuple[Tensor, ...]:
        """The arguments of `Denoiser.forward` for the rows of a batch."""
        latents = self._latents[batch.indices]
        if self._mirrored is not None:
            latents = torch.where(batch.flip.view(-1, 1, 1, 1), self._mirrored[batch.indices], latents)
        distinct, rows = self._rows[batch.indices].masked_fill(batch.drop, 0).unique(return_inverse=True)
        given = (latents, batch.noise, batch.timesteps, self._text[distinct], rows)
        return tuple(tensor.to(self._device, non_blocking=True) for tensor in given)


def _tensors(job: Job, parts: Components, images: TrainingData, device: torch.device) -> dict[str, Tensor]:
    """What the cache holds.

    latents (N, c, h, w) float32; mirrored, the same of mirrored images, where settings ask for these; rows (N,) int64
    into text: tokens (U, L) int64, or embeddings (U, L, d) float32 where the text encoder is not trained; truncated, ()
    int64, how many images have a caption that was cut.
    """
    table = CaptionTable(parts.tokenizer, images.captions, truncate=job.settings.truncate_captions)
    tensors = {"latents": _encode(parts, images.images, device), "rows": table.rows, "text": table.tokens}
    tensors["truncated"] = torch.tensor(table.truncated)
    if job.settings.flip:
        tensors["mirrored"] = _encode(parts, images.images[:, :, ::-1], device)
    if not job.settings.trains_text_encoder:
        tensors["text"] = embed(parts.text_encoder.to(device).eval(), table.tokens).cpu()
        parts.text_encoder.cpu()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _encode(parts: Components, images: np.ndarray, device: torch.device) -> Tensor:
    latents = autoencoder.encode(parts.vae.to(device), np.ascontiguousarray(images))
    parts.vae.cpu()
    return latents


def _trained_autoencoder(job: Job, images: TrainingData) -> AutoencoderKL:
    """Train it on the given images and keep it for the other ranks, or read the one that an earlier attempt kept."""
    if not job.autoencoder.exists():
        with write_folder(job.autoencoder) as folder:
            autoencoder.train(images.images).save_pretrained(folder, safe_serialization=True)
    return AutoencoderKL.from_pretrained(job.autoencoder, local_files_only=True)
