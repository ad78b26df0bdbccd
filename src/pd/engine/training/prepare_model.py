"""What training stands on before there are latents: the model, its autoencoder where it is fitted, and the text."""

import torch
from diffusers import AutoencoderKL

from pd.config import ModelSettings
from pd.diffusion import autoencoder, components
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import Components
from pd.diffusion.data import TrainingData
from pd.diffusion.tensor_table import write_arrays
from pd.engine.training.definition import Job
from pd.seeds import derive
from pd.store.atomic import write_json
from pd.store.kept import at_hand, keep, keep_folder, there

TEXT_BYTES = 2**30  # of embeddings, which every rank holds; where there are more, tokens are cached


def rebuild(job: Job) -> Components:
    """The model before its training, on ranks that prepared nothing."""
    return components.build(job.settings, job.data, derive(job.seed, "weights"), fitted_autoencoder(job))


def lay_ground(job: Job, images: TrainingData, device: torch.device) -> Components:
    """All that comes before latents: the model, its autoencoder where it is fitted, and the text.

    Raises:
        UserError: settings, base, images and captions do not fit together.
    """
    if job.settings.autoencoder == "train" and not there(job.autoencoder):
        with keep_folder(job.autoencoder) as folder:
            autoencoder.train_on_parts(images.parts()).save_pretrained(folder, safe_serialization=True)
    parts = rebuild(job)
    if not all(there(path) for path in (job.truncated, job.captions, job.text)):
        _cache_text(job, parts, images, device)
        keep(job.truncated, job.captions, job.text)
    return parts


def fitted_autoencoder(job: Job) -> AutoencoderKL | None:
    """The autoencoder that this job fitted to its images, if its settings ask for one."""
    if job.settings.autoencoder != "train":
        return None
    return AutoencoderKL.from_pretrained(at_hand(job.autoencoder), local_files_only=True)


def caches_embeddings(settings: ModelSettings, table_bytes: int) -> bool:
    """Whether embeddings of captions are cached: a text encoder that is trained changes them at every step.

    Then, and where embeddings would not fit into the memory of each rank, tokens are cached, and the text encoder runs in
    the training loop. Latents are cached always: no settings train the autoencoder along with the UNet.
    """
    return not settings.trains_text_encoder and table_bytes <= TEXT_BYTES


def _cache_text(job: Job, parts: Components, images: TrainingData, device: torch.device) -> None:
    table = CaptionTable(parts.tokenizer, images.captions, truncate=job.settings.truncate_captions)
    write_json(job.truncated, {"captions": table.truncated})
    write_arrays(job.captions, {"row": table.rows.numpy()})
    distinct, length = table.tokens.shape
    if caches_embeddings(job.settings, 4 * distinct * length * int(parts.text_encoder.config.hidden_size)):
        embeddings = embed(parts.text_encoder.to(device).eval(), table.tokens).cpu()
        parts.text_encoder.cpu()
        write_arrays(job.text, {"embeddings": embeddings.numpy()})
    else:
        write_arrays(job.text, {"tokens": table.tokens.numpy()})
