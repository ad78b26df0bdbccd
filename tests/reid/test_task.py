"""Re-identification as a task: the batch of all ranks is one batch, and a stopped training goes on exactly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from pd.config import ReidSettings
from pd.reid.rows import Held, PixelRows
from pd.reid.task import Recogniser, training_settings
from pd.reid.train import train
from pd.training.loop import fit_here

People = tuple[NDArray[np.uint8], list[str]]
QUICK = ReidSettings(steps=9, identities_per_batch=5, images_per_identity=3, dim=16, checkpoint_every=4)


def recogniser(people: People, tmp_path: Path) -> Recogniser:
    return Recogniser(PixelRows.write(people[0], tmp_path / "pixels"), people[1], QUICK, 3, "these")


def test_pixels_are_read_by_the_row(people: People, tmp_path: Path) -> None:
    rows = PixelRows.write(people[0], tmp_path / "pixels")
    wanted = np.array([7, 0, 7, 59])
    assert (rows.take(wanted) == people[0][wanted]).all()
    assert rows.shape == people[0].shape


@pytest.mark.parametrize("world", [2, 4])
def test_the_ranks_parts_make_the_global_batch(people: People, tmp_path: Path, world: int) -> None:
    whole = recogniser(people, tmp_path)
    parts = [recogniser(people, tmp_path) for _ in range(world)]
    for step in range(3):
        batch = whole.batch(step, 0, 1)
        held = [part.batch(step, rank, world) for rank, part in enumerate(parts)]
        for name, value in batch.items():
            found = held[0][name] if name == "who" else torch.cat([each[name] for each in held])
            assert torch.equal(found, value), name
    again = recogniser(people, tmp_path)
    assert all(torch.equal(again.batch(2, 0, 1)[name], value) for name, value in batch.items())


def test_a_stopped_training_goes_on_to_the_weights_of_one_in_memory(people: People, tmp_path: Path) -> None:
    alone = train(people[0], people[1], QUICK, seed=3).state_dict()

    class Stopped(Recogniser):
        def after_step(self, module: torch.nn.Module, step: int) -> None:
            if step == 6:
                raise KeyboardInterrupt

    task = recogniser(people, tmp_path)
    stopped = Stopped(Held(people[0]), people[1], QUICK, 3, "these")
    assert stopped.key == task.key
    with pytest.raises(KeyboardInterrupt):
        fit_here(stopped, training_settings(QUICK), tmp_path)
    out = fit_here(task, training_settings(QUICK), tmp_path)
    found = load_file(out / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in alone.items())


def test_how_the_work_is_laid_out_makes_no_other_network(people: People, tmp_path: Path) -> None:
    rows = PixelRows.write(people[0], tmp_path / "pixels")
    laid_out = QUICK.model_copy(update={"workers": 2, "gpus_per_worker": 1.0, "checkpoint_every": 7})
    other = QUICK.model_copy(update={"dim": 32})
    keys = [Recogniser(rows, people[1], settings, 3, "these").key for settings in (QUICK, laid_out, other)]
    assert keys[0] == keys[1] != keys[2]
