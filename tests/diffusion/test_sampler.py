from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from pd.diffusion.components import Components
from pd.diffusion.sampler import Sampler, noise

PROMPTS = ["a photo of a face", "a photo of a face with glasses"] * 5


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("steps", [4, 15])
def test_images_are_those_of_the_stock_pipeline(base: Path, guidance: float, steps: int) -> None:
    ours = Sampler(base, mode="rgb", batch=4).sample(range(4), PROMPTS[:4], seed=5, steps=steps, guidance=guidance)
    pipeline = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    latents = noise(5, range(4), (4, 8, 8))
    stock = pipeline(PROMPTS[:4], latents=latents, num_inference_steps=steps, guidance_scale=guidance, output_type="np").images
    difference = np.abs(ours.astype(int) - (stock * 255).round().astype(int))
    assert ours.shape == (4, 16, 16, 3)
    assert ours.std() > 2
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_sample_is_a_function_of_seed_and_id(components: Components, precision: Literal["fp32", "bf16"]) -> None:
    sampler = Sampler(components, mode="grey", batch=4, precision=precision)
    whole = sampler.sample(range(10), PROMPTS, seed=5, steps=3, guidance=2.0)
    assert whole.shape == (10, 16, 16, 1)
    for ids in ([7], [9, 2], [3, 1, 4, 0, 5]):
        part = sampler.sample(ids, [PROMPTS[i] for i in ids], seed=5, steps=3, guidance=2.0)
        assert np.array_equal(part, whole[ids])
    other = sampler.sample(range(4), PROMPTS[:4], seed=6, steps=3, guidance=2.0)
    assert not np.array_equal(other, whole[:4])


def test_prompts_and_guidance_matter(components: Components) -> None:
    with torch.no_grad():  # random weights attend evenly to everything; make the text count
        for name, parameter in components.unet.named_parameters():
            if "attn2.to_v" in name or "attn2.to_out" in name:
                parameter.mul_(30)
    sampler = Sampler(components, mode="grey", batch=2)
    one, two = (sampler.sample([0], [PROMPTS[i]], seed=5, steps=3, guidance=1.0).astype(int) for i in (0, 1))
    guided = sampler.sample([0], [PROMPTS[0]], seed=5, steps=3, guidance=5.0).astype(int)
    assert np.abs(one - two).max() > 0
    assert np.abs(one - guided).max() > 0


def test_guidance_doubles_the_rows_only_where_text_is_looked_at(components: Components) -> None:
    rows: list[tuple[int, int]] = []
    components.unet.conv_out.register_forward_hook(lambda module, args, out: rows.append((first[-1], len(out))))
    first: list[int] = []
    components.unet.conv_in.register_forward_hook(lambda module, args, out: first.append(len(out)))
    sampler = Sampler(components, mode="grey", batch=2)
    sampler.sample([0], ["a"], seed=1, steps=3, guidance=1.0)
    assert rows == [(2, 2)] * 3
    sampler.sample([0], ["a"], seed=1, steps=3, guidance=2.0)
    assert rows[3:] == [(2, 4)] * 3


def test_a_distinct_prompt_is_embedded_once(components: Components) -> None:
    calls: list[int] = []
    components.text_encoder.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    sampler = Sampler(components, mode="grey", batch=4)
    for start in (0, 10):
        sampler.sample(range(start, start + 10), PROMPTS, seed=1, steps=1, guidance=1.0)
    assert calls == [1, 1]


def test_noise_is_standard_normal_and_per_id() -> None:
    rows = noise(5, range(64), (4, 8, 8))
    assert rows.mean().item() == pytest.approx(0, abs=0.03)
    assert rows.std().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(noise(5, [63, 2], (4, 8, 8)), rows[[63, 2]])
    assert noise(5, [], (4, 8, 8)).shape == (0, 4, 8, 8)


def test_edges(components: Components) -> None:
    sampler = Sampler(components, mode="grey", batch=2)
    assert sampler.sample([], [], seed=1, steps=2, guidance=1.0).shape == (0, 16, 16, 1)
    with pytest.raises(ValueError, match="1 ids but 2 prompts"):
        sampler.sample([1], ["a", "b"], seed=1, steps=2, guidance=1.0)
    # as in training where truncate_captions is set, and as stock diffusers does
    long, cut = (sampler.sample([1], ["face " * words], seed=1, steps=2, guidance=1.0) for words in (90, 75))
    assert np.array_equal(long, cut)
