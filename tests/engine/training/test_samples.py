"""Grids of samples: what is in them, and that a training does not notice."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_training import CAPTIONS, DATA, SEED, events, job_folder, settings, train, weights
from torch import distributed, multiprocessing

from pd.diffusion.components import build
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.sampler import Sampler
from pd.engine.training.definition import common
from pd.engine.training.engine import TrainEngine
from pd.engine.training.samples import STEPS, sample_grid, tiled
from pd.errors import UserError
from pd.seeds import derive


def test_pictures_stand_in_rows() -> None:
    pictures = np.stack([np.full((3, 4, 1), number, np.uint8) for number in range(6)])
    sheet = tiled(pictures, columns=3)
    assert sheet.shape == (3 + 2 + 3, 4 + 2 + 4 + 2 + 4, 1)
    assert (sheet[:3, :4] == 0).all()
    assert (sheet[:3, 12:] == 2).all()
    assert (sheet[5:, 6:10] == 4).all()
    assert (sheet[3:5] == 128).all()


def test_prompts_are_the_most_frequent_captions() -> None:
    assert common(["b", "rare", "a", "b", "c", "a", "b"], most=3) == ("b", "a", "c")


def test_a_grid_is_what_a_sampler_makes_of_these_weights_and_leaves_the_model_alone() -> None:
    chosen = settings()
    parts = build(chosen, DATA, 1)
    other = build(chosen, DATA, 2)
    average = dict(Denoiser(other, chosen).named_parameters())
    denoiser = Denoiser(parts, chosen)
    called: list[object] = []
    denoiser.unet.register_forward_pre_hook(lambda module, given: called.append(module))
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    state = torch.get_rng_state()
    prompts = ("a photo of a face", "a photo of a face with glasses")
    grid = sample_grid(parts, average, chosen, mode="grey", prompts=prompts, seed=3, device=torch.device("cpu"))
    sampler = Sampler(other, mode="grey", batch=16)
    expected = sampler.sample(range(16), [prompts[row % 2] for row in range(16)], seed=3, steps=STEPS, guidance=1.0)
    assert np.array_equal(grid, tiled(expected, columns=4))
    assert not called
    assert denoiser.unet.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in denoiser.state_dict().items())
    assert all(parameter.requires_grad for parameter in denoiser.parameters())


def test_a_frozen_text_encoder_is_sampled_with_as_it_is() -> None:
    chosen = settings(train_text_encoder=False)
    parts = build(chosen, DATA, 1)
    same = {name: value.detach().clone() for name, value in Denoiser(parts, chosen).named_parameters()}
    assert all(name.startswith("unet.") for name in same)
    grid = sample_grid(parts, same, chosen, mode="grey", prompts=("",), seed=3, device=torch.device("cpu"))
    expected = Sampler(parts, mode="grey", batch=16).sample(range(16), [""] * 16, seed=3, steps=STEPS, guidance=1.0)
    assert np.array_equal(grid, tiled(expected, columns=4))


def test_a_training_ends_with_the_same_weights_with_and_without_samples(tmp_path: Path) -> None:
    train(tmp_path / "with", settings(samples_every=3))
    train(tmp_path / "without", settings(samples_every=0))
    one, other = weights(tmp_path / "with" / "out"), weights(tmp_path / "without" / "out")
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    folder = job_folder(tmp_path / "with")
    grids = sorted((folder / "samples").iterdir())
    assert [path.name for path in grids] == ["step_00000003.png", "step_00000006.png"]
    with Image.open(grids[1]) as picture:
        assert picture.size == (4 * 34 - 2, 4 * 34 - 2)
        last = np.asarray(picture)
    with Image.open(grids[0]) as picture:
        assert (np.asarray(picture) != last).mean() > 0.1
    # The averaged weights are what is shown, and at the last step they are what is written.
    sampler = Sampler(tmp_path / "with" / "out", mode="grey", batch=16)
    prompts = [sorted(CAPTIONS)[row % 3] for row in range(16)]
    made = sampler.sample(range(16), prompts, seed=derive(SEED, "samples"), steps=STEPS, guidance=1.0)
    assert np.array_equal(last, tiled(made, columns=4).squeeze(-1))
    shown = [(tag, step) for tag, step, value in events(folder / "tensorboard") if isinstance(value, bytes)]
    assert shown == [("samples", 3), ("samples", 6)]
    assert not (job_folder(tmp_path / "without") / "samples").exists()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), UserError("the model made NaN")])
def test_samples_that_cannot_be_made_do_not_end_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise error

    monkeypatch.setattr("pd.engine.training.loop.sample_grid", fail)
    told: list[object] = []
    facts = train(tmp_path, settings(samples_every=2), lambda step, steps, figures: told.append(figures.get("samples")))
    assert facts["steps"] == 6
    assert f"failed ({type(error).__name__})" in told


def sample_at_every_stage(rank: int, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", store=distributed.FileStore(str(folder / "store"), 2), rank=rank, world_size=2)
    for stage in range(4):
        chosen = settings(zero_stage=stage, workers=2)
        parts = build(chosen, DATA, 1)
        engine = TrainEngine(Denoiser(parts, chosen), chosen, 4, torch.device("cpu"))
        average = engine.averaged()
        if rank == 0:
            grid = sample_grid(parts, average, chosen, mode="grey", prompts=("",), seed=3, device=torch.device("cpu"))
            np.save(folder / f"{stage}.npy", grid)
        distributed.barrier()


@pytest.mark.exhaustive
def test_one_rank_samples_alone_at_every_zero_stage(tmp_path: Path) -> None:
    multiprocessing.spawn(sample_at_every_stage, (tmp_path,), nprocs=2)
    parts = build(settings(), DATA, 1)
    expected = Sampler(parts, mode="grey", batch=16).sample(range(16), [""] * 16, seed=3, steps=STEPS, guidance=1.0)
    for stage in range(4):
        found = np.load(tmp_path / f"{stage}.npy").astype(int)
        assert np.abs(found - tiled(expected, columns=4)).max() <= 1, f"stage {stage}"  # one thread sums otherwise than two
