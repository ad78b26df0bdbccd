"""Folders as the hub has them for Stable Diffusion 1.5 and 2.1, small and of random weights, but in their layout to the key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from refusals import refused_as
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from pd.config import DataSettings, ModelSettings
from pd.diffusion import tokenizer
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import Components, build
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.objective import draw
from pd.diffusion.pretrained import read

DATA = DataSettings(size=32, mode="rgb")
DOWN, UP = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
OLD_ATTENTION = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}


class Kind(NamedTuple):
    """What tells the two layouts apart: keys of configurations, and the token that pads."""

    unet: dict[str, Any]
    text: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any]
    pad: str


SD_1_5 = Kind(
    unet={"attention_head_dim": 8},  # the number of heads, whatever it is called
    text={"hidden_act": "quick_gelu", "num_hidden_layers": 2},
    vae={},  # its file says no scaling factor
    scheduler={"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False, "clip_sample": False},
    pad="<|endoftext|>",
)
SD_2_1 = Kind(
    unet={"attention_head_dim": [2, 4], "use_linear_projection": True, "upcast_attention": True},
    text={"hidden_act": "gelu", "num_hidden_layers": 3},  # 23 of OpenCLIP's 24: what it attends to is the last but one
    vae={"scaling_factor": 0.18215},
    scheduler={"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", "set_alpha_to_one": False},
    pad="!",
)


def write(folder: Path, kind: Kind) -> Components:
    """Write the folder; returns the networks that are in it."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(16, 32),
        down_block_types=DOWN,
        up_block_types=UP,
        layers_per_block=2,
        norm_num_groups=8,
        cross_attention_dim=32,
        **kind.unet,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        latent_channels=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(hidden_size=32, intermediate_size=64, num_attention_heads=4, projection_dim=16, **kind.text)
    )
    unet_keys = {"attention_head_dim", "block_out_channels", "cross_attention_dim", "down_block_types", "up_block_types"}
    unet_keys |= {"layers_per_block", "norm_num_groups", "sample_size", "in_channels", "out_channels", *kind.unet}
    write_part(folder / "unet", "diffusion_pytorch_model", unet, unet_keys, lambda key: key)
    vae_keys = {"block_out_channels", "down_block_types", "up_block_types", "latent_channels", "norm_num_groups", *kind.vae}
    write_part(folder / "vae", "diffusion_pytorch_model", vae, vae_keys, old_attention)
    text_keys = set(text.config.to_dict()) - {"dtype", "transformers_version"}
    write_part(folder / "text_encoder", "model", text, text_keys, lambda key: f"text_model.{key}")
    weights = load_file(folder / "text_encoder" / "model.safetensors")
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]  # a buffer of old
    save_file(weights, folder / "text_encoder" / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(folder / "tokenizer", kind.pad)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
    write_json(folder / "scheduler" / "scheduler_config.json", betas | kind.scheduler | {"trained_betas": None})
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.6.0",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "scheduler": ["diffusers", kind.scheduler["_class_name"]],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    write_json(folder / "model_index.json", index)
    write_json(folder / "safety_checker" / "config.json", {"architectures": ["StableDiffusionSafetyChecker"]})
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"never read")
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"never read")
    return Components(unet.eval(), vae.eval(), text.eval(), tokenizer.build(), None)  # type: ignore[arg-type]


def old_attention(key: str) -> str:
    for new, old in OLD_ATTENTION.items():
        if ".attentions." in key:
            key = key.replace(new, old)
    return key


def write_part(folder: Path, name: str, module: Any, keys: set[str], rename: Callable[[str], str]) -> None:
    config = module.config.to_dict() if name == "model" else dict(module.config)
    write_json(folder / "config.json", {"_class_name": type(module).__name__} | {key: config[key] for key in keys})
    save_file(
        {rename(key): value for key, value in module.state_dict().items()}, folder / f"{name}.safetensors", {"format": "pt"}
    )


def write_tokenizer(folder: Path, pad: str) -> None:
    vocabulary, merges = tokenizer.read_vocabulary()
    write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": pad, "unk_token": "<|endoftext|>"}
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", special | {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"})


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


KINDS = pytest.mark.parametrize(("kind", "prediction"), [(SD_1_5, "epsilon"), (SD_2_1, "v_prediction")], ids=["1.5", "2.1"])


def settings(folder: Path, prediction: str, **options: Any) -> ModelSettings:
    """For a base that learned noise or velocity on a schedule whose end is not pure noise."""
    own = {"base": str(folder), "autoencoder": "base", "prediction": prediction, "zero_terminal_snr": False}
    return ModelSettings.model_validate(own | options)


@KINDS
def test_it_is_read_as_it_was_written(tmp_path: Path, kind: Kind, prediction: str) -> None:
    written = write(tmp_path, kind)
    found = read(tmp_path)
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(found, part).state_dict(), getattr(written, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), part
    assert found.scheduler.config.prediction_type == prediction
    assert found.vae.config.scaling_factor == 0.18215
    assert found.text_encoder.config.num_hidden_layers == kind.text["num_hidden_layers"]
    assert found.text_encoder.config.hidden_act == kind.text["hidden_act"]
    tokens = tokenizer.tokenize(found.tokenizer, ["a face", ""])
    own = tokenizer.tokenize(written.tokenizer, ["a face", ""])
    pad = found.tokenizer.pad_token_id
    assert pad == (49_407 if kind is SD_1_5 else 0)
    assert tokens[:, :2].equal(own[:, :2])
    assert set(tokens[0, 4:].tolist()) == {pad}
    with torch.no_grad():
        one, two = (parts.text_encoder(tokens)[0] for parts in (found, written))
        torch.testing.assert_close(one, two)
        latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        same = [parts.unet(latents, torch.tensor([1, 900]), one).sample for parts in (found, written)]
    torch.testing.assert_close(*same)


@KINDS
@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_it_can_be_trained(tmp_path: Path, kind: Kind, prediction: str, adapter: str) -> None:
    write(tmp_path, kind)
    chosen = settings(tmp_path, prediction, adapter=adapter, train_text_encoder="frozen")
    parts = build(chosen, DATA, 1)
    assert parts.latent_shape == (4, 8, 8)
    assert parts.scheduler.config.prediction_type == prediction
    denoiser = Denoiser(parts, chosen)
    batch = draw(1, 0, batch=4, images=4, latent_shape=parts.latent_shape, caption_dropout=0.5)
    text, rows = CaptionTable(parts.tokenizer, ["a face"] * 4).batch(batch.indices, batch.drop)
    loss = denoiser(torch.zeros(4, 4, 8, 8), batch.noise, batch.timesteps, embed(parts.text_encoder, text), rows)
    loss.backward()
    assert all(parameter.grad is not None for parameter in denoiser.parameters() if parameter.requires_grad)


@KINDS
def test_another_prediction_than_the_bases_is_refused_with_what_to_set(tmp_path: Path, kind: Kind, prediction: str) -> None:
    write(tmp_path, kind)
    other = "v_prediction" if prediction == "epsilon" else "epsilon"
    with refused_as("bad-model", prediction):
        build(settings(tmp_path, other), DATA, 1)


def test_its_latents_are_not_those_of_another_autoencoder(tmp_path: Path) -> None:
    write(tmp_path, SD_1_5)
    with refused_as("bad-model", "UNet", "4", "24"):
        build(settings(tmp_path, "epsilon", autoencoder="bundled"), DATA, 1)
