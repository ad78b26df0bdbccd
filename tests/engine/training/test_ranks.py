"""Training on several ranks, in plain processes: every ZeRO stage, resume, and another number of ranks."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from bare_loop import bare_loop
from plain_ranks import Plain, give_inputs, join
from small_training import DATA, SEED, apart, pictures, settings, weights
from torch import multiprocessing

from pd.diffusion.objective import draw
from pd.engine.training.definition import Job
from pd.engine.training.loop import train_loop
from pd.engine.training.worker import LocalWorker

pytestmark = pytest.mark.usefixtures("one_thread")


ELASTIC = {"steps": 20, "checkpoint_every": 5, "batch": 8}
"""A training that changes its number of workers on the way."""


OTHER_RANKS = 1e-4
"""How far weights may be from those of another number of ranks: sums are rounded otherwise, and Adam divides by what is
nearly zero. On processors with AMX it is below 1e-5, on others it was 1.8e-5 after six steps."""


Plans = dict[str, tuple[dict[str, Any], int | None]]
"""Trainings, each in a folder of its name: settings, and the step in which all ranks die."""


def spawn(world: int, folder: Path, *plans: Plans) -> None:
    """Run trainings in so many plain processes, one set after another."""
    with tempfile.TemporaryDirectory() as store:
        multiprocessing.spawn(spawned, (world, Path(store) / "store", folder, plans), nprocs=world)


def spawned(rank: int, world: int, store: Path, folder: Path, plans: tuple[Plans, ...]) -> None:
    """One process of `spawn`."""
    join(rank, world, store)
    for some in plans:
        take(folder, some)


def here(folder: Path, plans: Plans) -> None:
    """Run trainings in this process."""
    LocalWorker(folder)  # makes it a rank
    take(folder, plans)


def take(folder: Path, plans: Plans) -> None:
    """Run trainings as one of the ranks that there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pd.engine.training.progress_file.EVERY_S", 0.0)  # every step is told
        for name, (changes, last) in plans.items():
            job = Job(settings(**changes), DATA, SEED, folder / name)
            give_inputs(job, pictures())

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
    """Step -> its loss; where a step was taken twice, as it was the last time."""
    return {record["step"]: record["loss_step"] for record in told(folder) if "loss_step" in record}


def resumed(folder: Path) -> list[int]:
    """Steps behind the checkpoints that a training went on from."""
    return [record["step"] for record in told(folder) if record.get("phase") == "resumed"]


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_ranks_go_on_exactly_as_they_were_and_others_as_nearly_as_sums_can(tmp_path: Path) -> None:
    two = {"zero_stage": 2, "workers": 2}
    here(tmp_path, {"one to two": ({}, 3)})
    first: Plans = {"whole": (two, None), "resumed": (two, 3), "two to one": (two, 3)}
    spawn(2, tmp_path, first, {"resumed": (two, None), "one to two": (two | {"zero_stage": 1}, None)})
    here(tmp_path, {"two to one": ({}, None)})
    whole, model = curve(tmp_path / "whole"), weights(tmp_path / "whole" / "model")
    assert whole.keys() == set(range(1, 7))
    assert resumed(tmp_path / "resumed") == [2]
    assert curve(tmp_path / "resumed") == whole
    assert apart(weights(tmp_path / "resumed" / "model"), model) == 0.0
    for name in ("two to one", "one to two"):
        assert resumed(tmp_path / name) == [2], name
        assert curve(tmp_path / name) == pytest.approx(whole, abs=1e-5), name
        assert apart(weights(tmp_path / name / "model"), model) < OTHER_RANKS, name


@pytest.mark.exhaustive
def test_two_ranks_train_and_resume_at_every_zero_stage_as_a_bare_torch_loop_does(tmp_path: Path) -> None:
    def plans(last: int | None) -> Plans:
        return {str(stage): ({"zero_stage": stage, "workers": 2, "micro_batch": 2}, last) for stage in range(4)}

    whole = {f"whole {stage}": plan for stage, plan in plans(None).items() if stage in "12"}
    spawn(2, tmp_path, whole | plans(3))
    spawn(2, tmp_path, plans(None))
    expected = bare_loop(settings())
    for stage in plans(None):
        assert resumed(tmp_path / stage) == [2]
        assert apart(weights(tmp_path / stage / "model"), expected) < OTHER_RANKS, f"stage {stage}"
        uninterrupted = curve(tmp_path / ("whole 1" if stage == "1" else "whole 2"))
        assert uninterrupted.keys() == set(range(1, 7))
        assert curve(tmp_path / stage) == pytest.approx(uninterrupted, abs=1e-5), f"stage {stage}"


@pytest.mark.exhaustive
def test_a_training_goes_on_with_another_number_of_workers_and_another_zero_stage(tmp_path: Path) -> None:
    first = {
        "two to one": ({"zero_stage": 2, "workers": 2, **ELASTIC}, 12),
        "two to two": ({"zero_stage": 3, "workers": 2, **ELASTIC}, 12),
        "shared to one": ({"workers": 2, **ELASTIC}, 12),
    }
    spawn(2, tmp_path, first)
    alone = {
        "whole": (ELASTIC, None),
        "two to one": (ELASTIC, None),
        "shared to one": (ELASTIC, None),
        "one to two": (ELASTIC, 12),
        "one to shared": (ELASTIC, 12),
    }
    spawn(1, tmp_path, alone)
    second = {
        "two to two": ({"zero_stage": 1, "workers": 2, **ELASTIC}, None),
        "one to two": ({"zero_stage": 3, "workers": 2, **ELASTIC}, None),
        "one to shared": ({"workers": 2, **ELASTIC}, None),
    }
    spawn(2, tmp_path, second)
    four = {"four": ({"zero_stage": 2, "workers": 4, **ELASTIC}, None), "four sharing": ({"workers": 4, **ELASTIC}, None)}
    spawn(4, tmp_path, four)
    for name in (*first, "one to two", "one to shared", *four):
        assert curve(tmp_path / name) == pytest.approx(curve(tmp_path / "whole"), abs=1e-5), name
        assert apart(weights(tmp_path / name / "model"), weights(tmp_path / "whole" / "model")) < OTHER_RANKS, name


@pytest.mark.exhaustive
def test_two_ranks_adapt_a_base_and_resume_at_every_zero_stage_as_a_bare_torch_loop_does(tmp_path: Path, base: Path) -> None:
    lora = {"base": str(base), "autoencoder": "base", "adapter": "lora", "lora_rank": 2}

    def plans(last: int | None) -> Plans:
        return {str(stage): (lora | {"zero_stage": stage, "workers": 2}, last) for stage in range(4)}

    spawn(2, tmp_path, plans(3))
    spawn(2, tmp_path, plans(None))
    expected = bare_loop(settings(**lora))
    for stage in plans(None):
        assert apart(weights(tmp_path / stage / "model"), expected) < OTHER_RANKS, f"stage {stage}"


@pytest.mark.exhaustive
def test_ranks_among_whom_a_batch_does_not_divide_train_as_one(tmp_path: Path) -> None:
    spawn(1, tmp_path, {"one": (ELASTIC, None)})
    three = {"three": ({"workers": [1, 3], **ELASTIC}, None), "cut": ({"workers": [1, 3], "zero_stage": 2, **ELASTIC}, None)}
    spawn(3, tmp_path, three | {"cut in parts": ({"workers": [1, 3], "zero_stage": 1, "micro_batch": 2, **ELASTIC}, None)})
    for name in (*three, "cut in parts"):
        assert curve(tmp_path / name) == pytest.approx(curve(tmp_path / "one"), abs=1e-5), name
        assert apart(weights(tmp_path / name / "model"), weights(tmp_path / "one" / "model")) < OTHER_RANKS, name
