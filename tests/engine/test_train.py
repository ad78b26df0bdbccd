"""Training: the engine against a bare torch loop, resume after every kind of death, and refusals."""

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from small_training import DATA, SEED, pictures, records, settings, train, train_until, weights
from torch import Tensor, distributed, multiprocessing

from pd.config import ModelSettings
from pd.diffusion import autoencoder, export
from pd.diffusion.adapter import merge
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import build
from pd.diffusion.data import TrainingData
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.ema import Ema
from pd.diffusion.objective import draw
from pd.engine.runtime import connect
from pd.engine.train import train_model
from pd.engine.train_handover import hand_over
from pd.engine.train_job import Job, name_of
from pd.engine.train_loop import train_loop
from pd.errors import UserError
from pd.seeds import derive


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference between two models' weights."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, and Adam makes much of small differences in its first steps."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of an uninterrupted run in this process."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, settings())
    return weights(folder / "out")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    connect()
    yield
    ray.shutdown()


def bare_loop(chosen: ModelSettings) -> dict[str, Tensor]:
    """The same training with nothing but torch: what DeepSpeed, ZeRO and the average must come to."""
    images = pictures()
    vae = autoencoder.train(images.images) if chosen.autoencoder == "train" else None
    parts = build(chosen, DATA, derive(SEED, "weights"), vae)
    latents = autoencoder.encode(parts.vae, images.images)
    mirrored = autoencoder.encode(parts.vae, images.images[:, :, ::-1].copy())
    table = CaptionTable(parts.tokenizer, images.captions)
    model = Denoiser(parts, chosen)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.99), weight_decay=chosen.weight_decay)
    average = Ema(parameters, chosen.ema)
    for step in range(chosen.steps):
        warm = min(1.0, (step + 1) / chosen.warmup)
        cosine = 0.05 + 0.475 * (1 + math.cos(math.pi * step / chosen.steps))
        optimiser.param_groups[0]["lr"] = chosen.learning_rate * warm * cosine
        batch = draw(
            SEED,
            step,
            batch=chosen.batch,
            images=len(images),
            latent_shape=parts.latent_shape,
            caption_dropout=chosen.caption_dropout,
            flip=chosen.flip,
            noise_offset=chosen.noise_offset,
        )
        flip = (batch.variant == 1).view(-1, 1, 1, 1)
        text, rows = table.batch(batch.indices, batch.drop)
        if not chosen.trains_text_encoder:
            text = embed(parts.text_encoder, text)
        clean = torch.where(flip, mirrored[batch.indices], latents[batch.indices])
        model(clean, batch.noise, batch.timesteps, text, rows).backward()
        torch.nn.utils.clip_grad_norm_(parameters, chosen.clip_norm)
        optimiser.step()
        optimiser.zero_grad()
        average.update(parameters, step)
    average.copy_to(parameters)
    for part in (parts.unet, parts.text_encoder):
        merge(part)
    unet = {f"unet.{name}": value for name, value in parts.unet.state_dict().items()}
    return unet | {f"text.{name}": value for name, value in parts.text_encoder.state_dict().items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch": 4},
        {"autoencoder": "train", "train_text_encoder": "frozen", "flip": True, "ema": 0.0, "caption_dropout": 0.5},
        {"prediction": "epsilon", "zero_terminal_snr": False, "min_snr_gamma": None, "clip_norm": 0.01},
        {"noise_offset": 0.1, "gradient_checkpointing": True},
        {"offload": "optimizer", "zero_stage": 1, "micro_batch": 4},
        {"offload": "optimizer", "zero_stage": 2, "micro_batch": "auto"},
        {"offload": "optimizer", "zero_stage": 3, "train_text_encoder": "frozen"},
    ],
)
def test_it_trains_as_a_bare_torch_loop_does(tmp_path: Path, changes: dict[str, Any]) -> None:
    chosen = settings(steps=4, **changes)
    facts = train(tmp_path, chosen)
    assert apart(weights(tmp_path / "out"), bare_loop(chosen)) < 1e-5
    assert facts["steps"] == 4
    assert 0 < facts["loss"] < 10
    assert facts["images_per_s"] > 0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model to fine-tune."""
    folder = tmp_path_factory.mktemp("base") / "model"
    export.export(build(settings(), DATA, 3), folder)
    return folder


LORA = [
    {"adapter": "lora"},
    {"adapter": "lora", "train_text_encoder": "frozen", "gradient_checkpointing": True},
    {"train_unet": "frozen", "train_text_encoder": "lora"},
    {"train_unet": "frozen"},
    {"train_unet": "lora", "zero_stage": 3, "offload": "optimizer"},
]


@pytest.mark.parametrize("changes", LORA)
def test_parts_of_a_base_are_adapted_and_come_out_as_one_plain_model(
    tmp_path: Path, base: Path, changes: dict[str, Any]
) -> None:
    chosen = settings(steps=4, base=str(base), autoencoder="base", lora_rank=2, **changes)
    facts = train(tmp_path, chosen)
    found, before = weights(tmp_path / "out"), weights(base)
    assert apart(found, bare_loop(chosen)) < 1e-5
    moved = {name for name in found if not torch.equal(found[name], before[name])}
    trained = {"unet": chosen.unet_training, "text": chosen.text_encoder_training}
    projections = ("to_q.", "to_k.", "to_v.", "to_out.0.", "q_proj.", "k_proj.", "v_proj.", "out_proj.")
    for part, how in trained.items():
        mine = {name for name in moved if name.startswith(part)}
        assert bool(mine) == (how != "frozen")
        if how == "lora":
            assert all(name.endswith("weight") and any(word in name for word in projections) for name in mine)
    counted = sum(value.numel() for value in before.values())
    assert 0 < facts["parameters"] < counted
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a photo of a face", num_inference_steps=2).images[0].size == (32, 32)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"offload": "optimizer", "zero_stage": 2}, marks=pytest.mark.exhaustive),
        pytest.param({"offload": "optimizer", "zero_stage": 3}, marks=pytest.mark.exhaustive),
        pytest.param({"precision": "bf16"}, marks=pytest.mark.exhaustive),
    ],
)
def test_an_adapted_training_that_dies_goes_on(tmp_path: Path, base: Path, changes: dict[str, Any]) -> None:
    chosen = settings(base=str(base), autoencoder="base", adapter="lora", **changes)
    train(tmp_path / "whole", chosen)

    train_until(tmp_path / "cut", chosen, 3)
    train(tmp_path / "cut", chosen)
    assert resumed_at(tmp_path / "cut") == [2]
    assert apart(weights(tmp_path / "cut" / "out"), weights(tmp_path / "whole" / "out")) == 0.0


@pytest.mark.exhaustive
def test_a_compiled_unet_trains_the_same_weights(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    train(tmp_path, settings(compile="on"))
    assert apart(weights(tmp_path / "out"), whole) < 1e-4


class Plain:
    """A rank in a plain process: what Ray gives a training loop, without Ray."""

    def __init__(self, folder: Path) -> None:
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.device, self._folder = torch.device("cpu"), folder

    def agree(self, value: Any) -> Any:
        held = [value]
        distributed.broadcast_object_list(held)
        return held[0]

    def checkpoint(self, step: int, save: Callable[[Path], None]) -> None:
        part = self._folder / f"checkpoint_{step:03d}"
        part.mkdir(exist_ok=True)
        save(part)
        distributed.barrier()

    def latest(self) -> Path | None:
        return max(self._folder.glob("checkpoint_*"), default=None)

    def told_to_leave(self) -> bool:
        return False


ELASTIC = {"steps": 20, "checkpoint_every": 5, "batch": 8}
"""A training that changes its number of workers on the way."""


Plans = dict[str, tuple[dict[str, Any], int | None]]
"""Trainings, each in a folder of its name: settings, and the step in which all ranks die."""


def spawn(world: int, folder: Path, plans: Plans) -> None:
    """Run trainings in so many plain processes."""
    with tempfile.TemporaryDirectory() as store:
        multiprocessing.spawn(spawned, (world, Path(store) / "store", folder, plans), nprocs=world)


def spawned(rank: int, world: int, store: Path, folder: Path, plans: Plans) -> None:
    """One process of `spawn`."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", store=distributed.FileStore(str(store), world), rank=rank, world_size=world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pd.engine.train_progress.EVERY_S", 0.0)  # every step is told
        for name, (changes, last) in plans.items():
            job = Job(settings(**changes), DATA, SEED, folder / name)
            if rank == 0 and not job.folder.exists():
                job.folder.mkdir()
                hand_over(pictures(), job.inputs)
            distributed.barrier()

            def dies(seed: int, step: int, last: int | None = last, **shape: Any) -> Any:
                if step == last:
                    raise InterruptedError
                return draw(seed, step, **shape)

            with pytest.MonkeyPatch.context() as inner:
                inner.setattr("pd.diffusion.objective.draw", dies)
                try:
                    refusal = train_loop(job, Plain(job.folder))
                    assert refusal is None, refusal
                    assert last is None
                except InterruptedError:
                    assert last is not None


def curve(folder: Path) -> dict[int, float]:
    """Step -> mean loss of the steps up to it; where a step was taken twice, as it was the last time."""
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.exhaustive
def test_two_ranks_train_and_resume_at_every_zero_stage_as_a_bare_torch_loop_does(tmp_path: Path) -> None:
    def plans(last: int | None) -> Plans:
        return {str(stage): ({"zero_stage": stage, "workers": 2, "micro_batch": 2}, last) for stage in range(4)}

    whole = {f"whole {stage}": plan for stage, plan in plans(None).items() if stage in "12"}
    spawn(2, tmp_path, whole | plans(3))
    spawn(2, tmp_path, plans(None))
    expected = bare_loop(settings())
    for stage in plans(None):
        lines = (tmp_path / stage / "progress.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines if "resumed" in line] == [2]
        assert apart(weights(tmp_path / stage / "model"), expected) < 1e-5, f"stage {stage}"
        uninterrupted = curve(tmp_path / ("whole 1" if stage == "1" else "whole 2"))
        assert uninterrupted.keys() == set(range(1, 7))
        assert curve(tmp_path / stage) == pytest.approx(uninterrupted, abs=1e-5), f"stage {stage}"


@pytest.mark.exhaustive
def test_a_training_goes_on_with_another_number_of_workers_and_another_zero_stage(tmp_path: Path) -> None:
    first = {
        "two to one": ({"zero_stage": 2, "workers": 2, **ELASTIC}, 12),
        "two to two": ({"zero_stage": 3, "workers": 2, **ELASTIC}, 12),
    }
    spawn(2, tmp_path, first)
    alone = {
        "whole": (ELASTIC, None),
        "two to one": (ELASTIC, None),
        "one to two": (ELASTIC, 12),
    }
    spawn(1, tmp_path, alone)
    second = {
        "two to two": ({"zero_stage": 1, "workers": 2, **ELASTIC}, None),
        "one to two": ({"zero_stage": 3, "workers": 2, **ELASTIC}, None),
    }
    spawn(2, tmp_path, second)
    spawn(4, tmp_path, {"four": ({"zero_stage": 2, "workers": 4, **ELASTIC}, None)})
    for name in ("two to one", "two to two", "one to two", "four"):
        assert curve(tmp_path / name) == pytest.approx(curve(tmp_path / "whole"), abs=1e-5), name
        assert apart(weights(tmp_path / name / "model"), weights(tmp_path / "whole" / "model")) < 1e-5, name


@pytest.mark.exhaustive
def test_two_ranks_adapt_a_base_and_resume_at_every_zero_stage_as_a_bare_torch_loop_does(tmp_path: Path, base: Path) -> None:
    lora = {"base": str(base), "autoencoder": "base", "adapter": "lora", "lora_rank": 2}

    def plans(last: int | None) -> Plans:
        return {str(stage): (lora | {"zero_stage": stage, "workers": 2}, last) for stage in range(4)}

    spawn(2, tmp_path, plans(3))
    spawn(2, tmp_path, plans(None))
    expected = bare_loop(settings(**lora))
    for stage in plans(None):
        assert apart(weights(tmp_path / stage / "model"), expected) < 1e-5, f"stage {stage}"


def test_captions_that_are_too_long_are_refused_or_cut_and_counted(tmp_path: Path) -> None:
    images = pictures()
    long = TrainingData(images.images, [*images.captions[:2], "word " * 100, "word " * 90, *images.captions[4:]])

    def trained(name: str, **changes: Any) -> dict[str, Any]:
        return train_model(settings(steps=1, **changes), DATA, long, tmp_path / name, tmp_path / "work", SEED)

    with pytest.raises(UserError, match=r"training image 2, .*: 2 of 12 captions have more than 77 tokens"):
        trained("refused")
    assert trained("cut", truncate_captions=True)["truncated_captions"] == 2


def test_bf16_stays_near_fp32(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    train(tmp_path, settings(precision="bf16"))
    distance = apart(weights(tmp_path / "out"), whole)
    assert 0 < distance < 0.02


def test_a_run_that_dies_goes_on_from_its_last_checkpoint(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    chosen = settings()
    train_until(tmp_path, chosen, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pd.engine.train_progress.EVERY_S", 0.0)
        assert not (tmp_path / "out").exists()
        before = len(records(tmp_path))
        train(tmp_path, chosen)
    assert [record["step"] for record in records(tmp_path)[before:]] == [2, 3, 4, 5, 6]
    assert apart(weights(tmp_path / "out"), whole) == 0.0


def test_a_finished_training_is_not_repeated_and_keeps_no_private_cache(tmp_path: Path) -> None:
    first = train(tmp_path, settings(steps=2))
    (folder,) = (tmp_path / "work").iterdir()
    assert {path.name for path in folder.iterdir()} == {"done.json", "model", "progress.jsonl", "tensorboard"}
    before = (folder / "progress.jsonl").read_bytes()
    again = train_model(settings(steps=2), DATA, pictures(), tmp_path / "second", tmp_path / "work", SEED)
    assert again == first
    assert (folder / "progress.jsonl").read_bytes() == before
    assert apart(weights(tmp_path / "second"), weights(tmp_path / "out")) == 0.0


def test_other_data_settings_or_seed_is_another_training(tmp_path: Path) -> None:
    images = pictures()
    other = TrainingData(images.images, images.captions[::-1])
    names = {
        name_of(settings(), DATA, images, 7),
        name_of(settings(), DATA, images, 8),
        name_of(settings(), DATA, other, 7),
        name_of(settings(learning_rate=0.5), DATA, images, 7),
    }
    assert len(names) == 4
    assert name_of(settings(checkpoint_every=5), DATA, images, 7) in names


def test_divergence_stops_with_the_step_and_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"diverged.*step \d.*(checkpoint)") as caught:
        train(tmp_path, settings(learning_rate=1e25, warmup=0, schedule="constant", clip_norm=1e9))
    assert caught.value.where == "learning_rate = 1e+25"
    assert not (tmp_path / "out").exists()


def test_a_frozen_text_encoder_and_an_autoencoder_of_its_own_are_exported_as_they_are(tmp_path: Path) -> None:
    chosen = settings(steps=2, train_text_encoder="frozen", autoencoder="train")
    train(tmp_path, chosen)
    fitted = autoencoder.train(pictures().images)
    fresh = build(chosen, DATA, derive(SEED, "weights"), fitted)
    for part, module, file in (
        ("text_encoder", fresh.text_encoder, "model.safetensors"),
        ("vae", fitted, "diffusion_pytorch_model.safetensors"),
    ):
        found = load_file(tmp_path / "out" / part / file)
        assert all(torch.equal(found[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 9, "workers": 2}, "9 does not divide among 2 workers"),
        ({"micro_batch": 3}, "do not divide into micro-batches of 3"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(tmp_path, settings(**changes))
    assert not (tmp_path / "work").exists()


def test_no_images_are_refused(tmp_path: Path) -> None:
    nothing = TrainingData(np.zeros((0, 32, 32, 1), np.uint8), [])
    with pytest.raises(UserError, match="no images"):
        train_model(settings(), DATA, nothing, tmp_path / "out", tmp_path / "work", SEED)


LONG = {"steps": 40, "checkpoint_every": 5, "batch": 16}
"""A run that lasts long enough to be killed in the middle."""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of an uninterrupted long run."""
    folder = tmp_path_factory.mktemp("long")
    train(folder, settings(**LONG))
    return weights(folder / "out")


def wait_for_second_checkpoint(folder: Path, alive: Callable[[], bool]) -> None:
    """When the second one is being written, the first one counts."""
    while len(list((folder / "work").glob("*/checkpoint_*"))) < 2:
        assert alive(), "it ended before it could be killed"
        time.sleep(0.02)


def ray_train_workers(driver: int) -> list[psutil.Process]:
    below = psutil.Process(driver).children(recursive=True)
    return [process for process in below if "RayTrainWorker" in " ".join(process.cmdline())]


def resumed_at(folder: Path) -> list[int]:
    return [record["step"] for record in records(folder) if record.get("phase") == "resumed"]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_two_workers_survive_a_crash_and_end_where_one_does(tmp_path: Path, long: dict[str, Tensor]) -> None:
    def kill_one() -> None:
        wait_for_second_checkpoint(tmp_path, lambda: True)
        victims = ray_train_workers(os.getpid())
        assert len(victims) == 2
        victims[-1].kill()

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    train(tmp_path, settings(workers=2, cpus_per_worker=0.5, zero_stage=2, **LONG))
    assert resumed_at(tmp_path)
    assert resumed_at(tmp_path)[0] >= 5
    assert apart(weights(tmp_path / "out"), long) < 1e-4


@pytest.mark.exhaustive
@pytest.mark.usefixtures("cluster")
def test_a_killed_driver_is_started_again_and_goes_on_with_fewer_workers(tmp_path: Path, long: dict[str, Tensor]) -> None:
    chosen = settings(workers=[1, 2], cpus_per_worker=2, **LONG)  # one, on the cluster of this test
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_train as t;"
        "t.train(pathlib.Path(sys.argv[2]), t.settings(workers=2, cpus_per_worker=0.5, zero_stage=2, **t.LONG))"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)])
    wait_for_second_checkpoint(tmp_path, lambda: driver.poll() is None)
    workers = ray_train_workers(driver.pid)
    assert len(workers) == 2
    driver.kill()
    driver.wait()
    _, left = psutil.wait_procs(workers, timeout=30)
    assert not left, "the training outlives its driver"
    train(tmp_path, chosen)
    assert resumed_at(tmp_path)
    assert resumed_at(tmp_path)[0] >= 5
    assert apart(weights(tmp_path / "out"), long) < 1e-4


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_the_user_did_wrong_comes_out_of_the_workers(tmp_path: Path) -> None:
    images = pictures()
    long = TrainingData(images.images, ["word " * 100, *images.captions[1:]])
    with pytest.raises(UserError, match="more than 77 tokens"):
        train_model(settings(workers=1), DATA, long, tmp_path / "out", tmp_path / "work", SEED)
