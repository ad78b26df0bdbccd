"""A training goes on after every kind of death, and one that is finished is not repeated."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from diffusers import StableDiffusionPipeline
from small_training import (
    CAPTIONS,
    DATA,
    LONG,
    SEED,
    apart,
    job_folder,
    pictures,
    records,
    resumed_at,
    settings,
    train,
    train_until,
    weights,
)
from torch import Tensor

from pd.diffusion.data import TrainingData
from pd.engine.runtime import connect
from pd.engine.training.definition import name_of
from pd.engine.training.stopped import stopped_trainings
from pd.engine.training.train import train_model
from pd.engine.training.worker import LocalWorker
from pd.errors import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    connect()
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def long(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of an uninterrupted long run."""
    folder = tmp_path_factory.mktemp("long")
    train(folder, settings(**LONG))
    return weights(folder / "out")


def test_a_run_that_dies_goes_on_from_its_last_checkpoint(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    chosen = settings()
    train_until(tmp_path, chosen, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pd.engine.training.progress_file.EVERY_S", 0.0)
        assert not (tmp_path / "out").exists()
        before = len(records(tmp_path))
        train(tmp_path, chosen)
    assert [record["step"] for record in records(tmp_path)[before:]] == [2, 3, 4, 5, 6]
    assert apart(weights(tmp_path / "out"), whole) == 0.0


def test_it_goes_on_in_this_process_from_what_workers_left(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    train_until(tmp_path, settings(), 3)
    (kept,) = job_folder(tmp_path).glob("local_*")
    kept.rename(kept.with_name("checkpoint_2026-11-29_06-00-00.000000"))  # as Ray Train names them
    train(tmp_path, settings())
    assert resumed_at(tmp_path) == [2]
    assert apart(weights(tmp_path / "out"), whole) == 0.0


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_workers_go_on_from_what_this_process_left(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    train_until(tmp_path, settings(), 3)
    train(tmp_path, settings(workers=1))
    assert resumed_at(tmp_path) == [2]
    assert apart(weights(tmp_path / "out"), whole) < 1e-5


def test_a_training_keeps_its_precision_on_another_machine(
    tmp_path: Path, whole: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pd.engine.training.loop.resolve", lambda precision, device: "fp32")
    train_until(tmp_path, settings(precision="auto"), 3)
    monkeypatch.setattr("pd.engine.training.loop.resolve", lambda precision, device: "bf16")
    facts = train(tmp_path, settings(precision="auto"))
    assert facts["precision"] == "fp32"
    assert apart(weights(tmp_path / "out"), whole) == 0.0


def test_a_base_counts_by_its_weights(tmp_path: Path, base: Path) -> None:
    chosen, images = settings(base=str(base), autoencoder="base"), pictures()
    moved = shutil.copytree(base, tmp_path / "moved")
    name = name_of(chosen, DATA, images, SEED)
    assert name_of(settings(base=str(moved), autoencoder="base"), DATA, images, SEED) == name
    weights_file = moved / "unet" / "diffusion_pytorch_model.safetensors"
    held = bytearray(weights_file.read_bytes())
    held[-1] ^= 1
    weights_file.write_bytes(held)
    assert name_of(settings(base=str(moved), autoencoder="base"), DATA, images, SEED) != name


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


def test_a_stopped_training_of_other_settings_is_named(tmp_path: Path) -> None:
    train_until(tmp_path, settings(), 3)
    work = tmp_path / "work"
    assert not list(stopped_trainings(work, settings(workers=2, checkpoint_every=7)))
    (line,) = stopped_trainings(work, settings(learning_rate=0.5, steps=9))
    assert "stopped at step 3" in line
    assert "learning_rate was 0.001, now 0.5, steps was 6, now 9; it is in" in line
    train(tmp_path, settings())
    assert not list(stopped_trainings(work, settings(learning_rate=0.5)))


def wait_for_second_checkpoint(folder: Path, alive: Callable[[], bool]) -> None:
    """When the second one is being written, the first one counts."""
    while len(list((folder / "work").glob("*/checkpoint_*"))) < 2:
        assert alive(), "it ended before it could be killed"
        time.sleep(0.02)


def ray_train_workers(driver: int) -> list[psutil.Process]:
    below = psutil.Process(driver).children(recursive=True)
    found = []
    for process in below:
        with suppress(psutil.Error):  # one that ended meanwhile
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.exhaustive
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
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)  # whole, and free of pd
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(CAPTIONS[1], num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="np").images
    assert drawn.shape == (1, DATA.size, DATA.size, 3)
    assert drawn.std() > 0.01


@pytest.mark.exhaustive
@pytest.mark.usefixtures("cluster")
def test_a_killed_driver_is_started_again_and_goes_on_with_fewer_workers(tmp_path: Path, long: dict[str, Tensor]) -> None:
    chosen = settings(workers=[1, 2], cpus_per_worker=2, **LONG)  # one, on the cluster of this test
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import small_training as t;"
        "t.train(pathlib.Path(sys.argv[2]), t.settings(workers=2, cpus_per_worker=0.5, zero_stage=2, **t.LONG))"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parents[1]), str(tmp_path)])
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


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_the_user_did_wrong_comes_out_of_the_workers(tmp_path: Path) -> None:
    images = pictures()
    long = TrainingData(images.images, ["word " * 100, *images.captions[1:]])
    with pytest.raises(UserError, match="more than 77 tokens"):
        train_model(settings(workers=1), DATA, long, tmp_path / "out", tmp_path / "work", SEED)


def test_a_notice_is_looked_for_oftener_where_steps_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def look(self: LocalWorker) -> bool:
        asked.append(False)
        return False

    monkeypatch.setattr(LocalWorker, "told_to_leave", look)
    train(tmp_path / "quick", settings(steps=14, checkpoint_every=100))
    assert len(asked) == 1
    asked.clear()
    monkeypatch.setattr("pd.engine.training.loop.NOTICE_S", 1e-6)
    train(tmp_path / "slow", settings(steps=14, checkpoint_every=100))
    assert len(asked) == 12  # at every step from the second on, but the last, which is kept anyway


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_one_worker_short_of_memory_ends_the_training_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbour waits for it in a collective, for half an hour if nobody ends it."""
    attempts = tmp_path / "attempts"
    attempts.mkdir()

    def on_worker(config: dict[str, Any]) -> UserError | None:
        from ray.train import get_context

        from pd.engine.training.engine import TrainEngine
        from pd.engine.training.train import _on_worker

        rank = get_context().get_world_rank()
        (attempts / f"{rank} {os.getpid()}").touch()

        def full(*given: object) -> None:
            raise torch.OutOfMemoryError("no room")

        if rank == 1:
            TrainEngine.micro_step = full
        return _on_worker(config)

    monkeypatch.setattr("pd.engine.training.train._on_worker", on_worker)
    with pytest.raises(UserError, match="does not fit into the GPU's memory"):
        train(tmp_path, settings(workers=2, cpus_per_worker=0.5))
    assert sorted(path.name[0] for path in attempts.iterdir()) == ["0", "1"]
