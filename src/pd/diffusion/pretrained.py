"""Reading a Stable Diffusion folder: from disk or the hub, safetensors only, no code but ours and the libraries'."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from pd.errors import UserError

CLASSES = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "tokenizer": CLIPTokenizer,
}
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
# The plain float32 weights, whole or sharded; no half-precision or non-averaged variants, and nothing pickled.
_WANTED = [
    "model_index.json",
    "*/*.json",
    "tokenizer/*.txt",
    *(f"{part}/{name}.safetensors" for part, name in WEIGHTS.items()),
]
_WANTED += [f"{part}/{name}-?????-of-?????.safetensors" for part, name in WEIGHTS.items()]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Parts(NamedTuple):
    """The parts of a Stable Diffusion folder, in float32 on the CPU."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any


def locate(base: str, revision: str | None = None) -> Path:
    """The folder of a base: itself, or the hub's, downloaded once.

    Raises:
        UserError: there is no such folder or repository, or the hub cannot be reached; a folder has no revisions.
    """
    folder = Path(base).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UserError(
                "a folder has no revisions",
                code="bad-value",
                where=f"revision = {revision}, base = {base}",
                fix="leave it empty",
            )
        return folder
    if not HUB_ID.fullmatch(base):
        raise UserError(
            "no such folder",
            code="missing-weights",
            where=f"base = {base}",
            fix="name a diffusers folder or a hub id 'owner/name'",
        )
    where = f"base = {base}" + (f", revision = {revision}" if revision else "")
    try:
        return Path(snapshot_download(base, revision=revision, allow_patterns=_WANTED))
    except RevisionNotFoundError:
        raise UserError(
            "the hub has no such revision of it", code="hub-failed", where=where, fix="name a branch, tag or commit"
        ) from None
    except GatedRepoError:
        raise UserError(
            "the hub wants you to accept its terms first", code="hub-failed", where=where, fix="`hf auth login`"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(
            "no such folder, and no such model on the hub", code="missing-weights", where=where, fix="check the name"
        ) from None
    except LocalEntryNotFoundError:
        raise UserError(
            "no such folder, and the hub cannot be reached or is switched off (HF_HUB_OFFLINE)",
            code="hub-failed",
            where=where,
            fix=f"on a machine with a network: `hf download {base} --local-dir DIR`, then set base: DIR",
        ) from None
    except OSError as error:
        raise UserError(
            f"the hub gave no answer ({type(error).__name__})", code="hub-failed", where=where, fix="try again later"
        ) from None


def check(folder: Path) -> None:
    """What can be told of a base before it is loaded.

    Raises:
        UserError: another layout than StableDiffusionPipeline's, a part is missing, or weights are not safetensors.
    """
    _check_index(folder)
    for part, name in WEIGHTS.items():
        _check_weights(folder / part, name)


def read(folder: Path) -> Parts:
    """The parts of a folder in the layout of diffusers' StableDiffusionPipeline.

    Raises:
        UserError: as `check`, or a part is broken or another class.
    """
    check(folder)
    with quiet():
        unet, vae, text_encoder = (_model(folder, part) for part in WEIGHTS)
    tokenizer = _tokenizer(folder)
    # Stable Diffusion's own tokenizers say 77; one that says nothing counts as endless, and fails in the pipeline.
    tokenizer.model_max_length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    return Parts(unet, vae, text_encoder, tokenizer, _scheduler(folder))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars, one a part: what takes long has pd's own."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _check_index(folder: Path) -> None:
    index = folder / "model_index.json"
    try:
        classes = json.loads(index.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("not a diffusers folder: it has no model_index.json", code="bad-weights", where=str(folder)) from None
    except (OSError, ValueError):
        raise UserError("not readable as JSON", code="bad-weights", where=str(index)) from None
    denoiser = classes.get("transformer") if isinstance(classes, dict) and "unet" not in classes else None
    if isinstance(denoiser, list) and denoiser:
        raise UserError(
            f"its denoiser is {denoiser[-1]}, and pd takes UNets alone",
            code="bad-weights",
            where=str(index),
            fix="take a model in the layout of StableDiffusionPipeline (PixArt, SD3, Sana and Flux have transformers)",
        )
    for part, kind in CLASSES.items():
        found = classes.get(part) if isinstance(classes, dict) else None
        if not isinstance(found, list) or found[-1:] != [kind.__name__]:
            named = found[-1] if isinstance(found, list) and found else "nothing"
            raise UserError(
                f"its {part} is {named}, not {kind.__name__}",
                code="bad-weights",
                where=str(index),
                fix="take a base in the layout of StableDiffusionPipeline (Stable Diffusion 1.x or 2.x)",
            )


def _check_weights(folder: Path, name: str) -> None:
    if any(folder.glob(f"{name}*.safetensors")):
        return
    pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.ckpt"))
    raise UserError(
        "pickled weights can run code and are refused" if pickled else f"{name}.safetensors is missing",
        code="missing-weights",
        where=str(folder),
        fix="take a revision with safetensors, or convert the weights with safetensors.torch.save_file",
    )


def _model(folder: Path, part: str) -> Any:
    options = {
        "use_safetensors": True,
        "local_files_only": True,
        "torch_dtype": torch.float32,
        "output_loading_info": True,
    }
    try:
        model, info = CLASSES[part].from_pretrained(str(folder / part), **options)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise UserError(f"cannot be loaded ({type(error).__name__})", code="bad-weights", where=str(folder / part)) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"{len(missing)} weights are missing, '{missing[0]}' first", code="bad-weights", where=str(folder / part)
        )
    return model.eval()


def _tokenizer(folder: Path) -> Any:
    try:
        return CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"cannot be loaded ({type(error).__name__})", code="bad-weights", where=str(folder / "tokenizer")
        ) from error


def _scheduler(folder: Path) -> Any:
    """The folder's noise schedule as the scheduler that pd samples with, whichever class it was saved as."""
    try:
        return DPMSolverMultistepScheduler.from_pretrained(str(folder / "scheduler"), local_files_only=True)
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"cannot be loaded ({type(error).__name__})", code="bad-weights", where=str(folder / "scheduler")
        ) from error
