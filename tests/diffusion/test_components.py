import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from pd.config import DataSettings, ModelSettings
from pd.diffusion import export
from pd.diffusion.components import Components, build
from pd.errors import UserError

VaeMaker = Callable[..., AutoencoderKL]


def scratch(**options: Any) -> ModelSettings:
    return ModelSettings(**{"unet": "tiny", "autoencoder": "train"} | options)


def test_new_weights_are_a_function_of_the_seed_and_leave_the_global_state(data: DataSettings, vae: VaeMaker) -> None:
    before = torch.get_rng_state()
    one, same, other = (build(scratch(), data, seed, vae=vae()) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for part in ("unet", "text_encoder"):
        a, b, c = (list(getattr(model, part).parameters()) for model in (one, same, other))
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        assert not all(torch.equal(x, y) for x, y in zip(a, c, strict=True))


def test_shapes_follow_the_autoencoder_and_the_images(data: DataSettings, vae: VaeMaker) -> None:
    model = build(scratch(), DataSettings(size=32), 0, vae=vae(16, (8, 8, 8)))
    assert model.latent_shape == (16, 8, 8)
    assert build(scratch(), data, 0, vae=vae(4)).latent_shape == (4, 8, 8)
    assert not any(parameter.requires_grad for parameter in model.vae.parameters())


def test_the_small_unet_has_four_million_parameters(vae: VaeMaker) -> None:
    model = build(scratch(unet="small"), DataSettings(size=32), 0, vae=vae(16, (8, 8, 8)))
    assert sum(parameter.numel() for parameter in model.unet.parameters()) == pytest.approx(4.0e6, rel=0.05)


def test_the_sd_shape_is_stable_diffusions() -> None:
    from diffusers import UNet2DConditionModel

    from pd.diffusion.presets import TEXT_MODELS, UNETS

    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNETS["sd"], cross_attention_dim=TEXT_MODELS["sd"]["hidden_size"])
    assert sum(parameter.numel() for parameter in unet.parameters()) == 865_910_724


def test_a_base_is_loaded_and_takes_the_images_size(base: Path, components: Components) -> None:
    model = build(ModelSettings(base=str(base), autoencoder="base"), DataSettings(size=32), seed=9)
    assert model.latent_shape == (4, 16, 16)
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(model, part).state_dict(), getattr(components, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def refused(data: DataSettings, match: str, vae: AutoencoderKL | None = None, **options: Any) -> str:
    with pytest.raises(UserError, match=match) as caught:
        build(ModelSettings(**options), data, 0, vae=vae)
    return str(caught.value)


def test_sizes_that_cannot_be_halved_are_refused(vae: VaeMaker) -> None:
    refused(DataSettings(size=24), "multiple of 16", vae(4, (8, 8, 8, 8)), unet="tiny", autoencoder="train")


def test_channels_that_do_not_fit_are_refused(base: Path, data: DataSettings, vae: VaeMaker) -> None:
    refused(data, "the UNet takes 4 .* latents have 16", vae(16), base=str(base), autoencoder="train")


def test_a_missing_base_is_refused(data: DataSettings, tmp_path: Path) -> None:
    refused(data, "no such folder", base=str(tmp_path / "nowhere"), autoencoder="base")
    refused(data, "no model_index.json", base=str(tmp_path), autoencoder="base")
    refused(data, "a folder has no revisions", base=str(tmp_path), revision="v1", autoencoder="base")


def test_a_hub_id_without_a_network_is_one_clear_error(data: DataSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    text = refused(data, "hub cannot be reached", base="some/model", revision="v1", autoencoder="base")
    assert "base = some/model, revision = v1" in text


def test_pickled_weights_are_refused(base: Path, data: DataSettings) -> None:
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    refused(data, "safetensors is missing", base=str(base), autoencoder="base")
    torch.save({"payload": torch.zeros(1)}, base / "unet" / "diffusion_pytorch_model.bin")
    refused(data, "pickled weights can run code", base=str(base), autoencoder="base")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_truncated_weights_are_refused(base: Path, data: DataSettings, part: str) -> None:
    (weights,) = (base / part).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(data, "cannot be loaded", base=str(base), autoencoder="base")


def test_missing_weights_are_refused_not_made_up(base: Path, data: DataSettings) -> None:
    from safetensors.torch import load_file, save_file

    path = base / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_out.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    refused(data, "1 weights are missing, 'conv_out.weight'", base=str(base), autoencoder="base")


def test_another_kind_of_pipeline_is_refused(base: Path, data: DataSettings) -> None:
    index = base / "model_index.json"
    classes = json.loads(index.read_text())
    classes["unet"] = ["some_module", "EvilUNet"]
    index.write_text(json.dumps(classes))
    refused(data, "its unet is EvilUNet", base=str(base), autoencoder="base")
    index.write_text("{")
    refused(data, "not readable as JSON", base=str(base), autoencoder="base")


def test_an_autoencoder_goes_with_its_setting_only(data: DataSettings, vae: VaeMaker) -> None:
    with pytest.raises(ValueError, match="handed over"):
        build(scratch(), data, 0)
    with pytest.raises(ValueError, match="handed over"):
        build(ModelSettings(unet="tiny"), data, 0, vae=vae())


def test_a_base_trained_by_another_scheduler_can_be_fine_tuned(base: Path, data: DataSettings) -> None:
    """Stable Diffusion 1.5 comes with PNDM and predicts noise."""
    from diffusers import PNDMScheduler

    PNDMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(base / "scheduler")
    refused(data, "the base predicts epsilon", base=str(base), autoencoder="base")
    settings = ModelSettings(base=str(base), autoencoder="base", prediction="epsilon", zero_terminal_snr=False)
    assert build(settings, data, 0).scheduler.config.prediction_type == "epsilon"
    assert export.load(base).scheduler.config.beta_end == 0.012


@pytest.mark.parametrize(("mode", "size", "channels"), [("grey", 32, 16), ("rgb", 96, 24)])
def test_the_bundled_autoencoder_takes_the_images_size(mode: str, size: int, channels: int) -> None:
    data = DataSettings.model_validate({"mode": mode, "size": size})
    model = build(ModelSettings(unet="tiny"), data, 0)
    assert model.latent_shape == (channels, size // 4, size // 4)
    with torch.no_grad():
        assert model.vae.decode(torch.zeros(1, *model.latent_shape)).sample.shape == (1, 3, size, size)
