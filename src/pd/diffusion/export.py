"""A model as a folder that stock diffusers loads, and back."""

import json
from pathlib import Path

from diffusers import StableDiffusionPipeline

from pd.diffusion import pretrained
from pd.diffusion.components import Components

# What transformers and diffusers note about where a part was loaded from.
_ORIGINS = {"_name_or_path", "name_or_path", "is_local", "local_files_only"}


def export(components: Components, folder: Path) -> None:
    """Write the layout of diffusers' StableDiffusionPipeline: safetensors and JSON, nothing else.

    Equal components make equal bytes; no path of this machine is in them.

    Args:
        components: the model, its averaged weights in place.
        folder: made if need be; whoever calls makes it whole or not there (`pd.store.atomic`).
    """
    pipeline = StableDiffusionPipeline(
        unet=components.unet,
        vae=components.vae,
        text_encoder=components.text_encoder,
        tokenizer=components.tokenizer,
        scheduler=components.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with pretrained.quiet():
        pipeline.save_pretrained(str(folder), safe_serialization=True)
    _write_vocabulary(components, folder / "tokenizer")
    for config in folder.rglob("*.json"):
        _forget_origin(config)


def load(folder: Path) -> Components:
    """The model that `export` wrote, in float32 on the CPU, for sampling.

    Raises:
        UserError: it is no such folder, or a part is missing, broken or pickled.
    """
    return Components(*pretrained.read(folder))


def _write_vocabulary(components: Components, folder: Path) -> None:
    """vocab.json and merges.txt, from which transformers 4 builds CLIP's tokenizer; transformers 5 leaves them out."""
    model = json.loads(components.tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")


def _forget_origin(config: Path) -> None:
    """Take out where a part was loaded from: it may be a path of this machine, and the card names the base."""
    value = json.loads(config.read_text(encoding="utf-8"))
    if isinstance(value, dict) and _ORIGINS & value.keys():
        kept = {key: item for key, item in value.items() if key not in _ORIGINS}
        config.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
