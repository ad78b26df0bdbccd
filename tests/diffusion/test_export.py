import json
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

from pd.diffusion import tokenizer
from pd.diffusion.components import Components
from pd.diffusion.export import export, load
from pd.store.files import digest_folder


def test_stock_diffusers_loads_it_and_samples(base: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a photo of a face", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (16, 16)
    assert isinstance(pipeline.scheduler, DPMSolverMultistepScheduler)
    assert pipeline.scheduler.config.timestep_spacing == "trailing"
    assert pipeline.scheduler.config.rescale_betas_zero_snr
    assert pipeline.tokenizer.model_max_length == 77


def test_the_layout_is_stable_diffusions_and_holds_no_pickle(base: Path) -> None:
    index = json.loads((base / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["safety_checker"] == index["feature_extractor"] == [None, None]
    assert index["requires_safety_checker"] is False
    assert index["tokenizer"] == ["transformers", "CLIPTokenizer"]
    files = {path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()}
    assert {name.rsplit(".", 1)[-1] for name in files} == {"json", "txt", "safetensors"}
    assert {"tokenizer/vocab.json", "tokenizer/merges.txt", "scheduler/scheduler_config.json"} <= files


def test_the_vocabulary_files_are_the_vocabulary(base: Path) -> None:
    vocabulary, merges = tokenizer.read_vocabulary()
    assert json.loads((base / "tokenizer" / "vocab.json").read_text(encoding="utf-8")) == vocabulary
    lines = (base / "tokenizer" / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert [tuple(line.split(" ")) for line in lines[1:]] == merges


def test_what_comes_back_is_what_was_written(base: Path, components: Components) -> None:
    back = load(base)
    assert back.latent_shape == components.latent_shape
    assert back.vae.config.scaling_factor == components.vae.config.scaling_factor
    assert torch.equal(back.scheduler.alphas_cumprod, components.scheduler.alphas_cumprod)
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(back, part).state_dict(), getattr(components, part).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    captions = ["A photo of a face, with glasses", ""]
    assert tokenizer.tokenize(back.tokenizer, captions).equal(tokenizer.tokenize(components.tokenizer, captions))


def test_equal_models_make_equal_bytes_that_name_no_place(base: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    export(load(base), again)
    third = tmp_path / "third"
    export(load(again), third)
    assert digest_folder(base) == digest_folder(again) == digest_folder(third)
    for config in again.rglob("*.json"):
        assert str(tmp_path) not in config.read_text(encoding="utf-8")
        assert "name_or_path" not in config.read_text(encoding="utf-8")
