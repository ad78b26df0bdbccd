"""A model that was trained elsewhere, taken as it is."""

from pathlib import Path

from pd.config import DataSettings, ModelSettings
from pd.diffusion import pretrained
from pd.diffusion.components import build
from pd.diffusion.export import export
from pd.errors import UserError
from pd.store.atomic import write_json
from pd.store.files import digest_folder

UNKNOWN = "unknown (trained elsewhere)"


def check_trained(model: ModelSettings) -> None:
    """What can be told of `trained` before anything runs.

    Raises:
        UserError: no such folder, another layout than StableDiffusionPipeline's (a transformer as its denoiser, say), or
            weights that are not safetensors.
    """
    if model.trained is not None:
        pretrained.check(_folder(model.trained))


def take(trained: Path, data: DataSettings, out: Path) -> dict[str, object]:
    """Write a model that was trained elsewhere as pd writes those that it trains, with `lineage.json`.

    Args:
        trained: its diffusers folder.
        data: size and mode of the images.
        out: folder to fill.

    Returns:
        Facts: parameters of the denoiser, and that the training is not known.

    Raises:
        UserError: as `check_trained`, or its parts do not fit each other or the images.
    """
    source = _folder(trained)
    as_base = ModelSettings(base=str(source), autoencoder="base")
    components = build(as_base, data, seed=0)
    export(components, out)
    digest = digest_folder(source)
    parts = ("unet", "vae", "text_encoder")
    write_json(out / "lineage.json", {part: {"trained_on": UNKNOWN, "from": f"folder {digest}"} for part in parts})
    return {"training": UNKNOWN, "parameters": sum(weight.numel() for weight in components.unet.parameters())}


def _folder(trained: Path) -> Path:
    folder = trained.expanduser()
    if not folder.is_dir():
        raise UserError(
            "no such folder",
            code="no-such-folder",
            where=f"teacher.trained = {trained}",
            fix="name a diffusers folder on this machine",
        )
    return folder
