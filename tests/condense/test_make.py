"""The trainings of classes: what they leave, and what they refuse."""

import numpy as np
import pytest
import torch
from refusals import refused_as

from pd.condense.evaluate import at_random, evaluate
from pd.condense.make import Classes, expert_training, experts_of, pictures_in, tasks_of, training_of
from pd.condense.task import whole
from pd.config import CondenseSettings
from pd.errors import UserError
from pd.training.loop import fit_here
from pd.training.ranks import Alone

TINY = CondenseSettings(
    labels=("x",), per_class=2, factor=2, batch=8, width=8, experts=1, expert_steps=3, sheets_every=2, learning_rate=5.0
)
TINY = TINY.model_copy(update={"training": TINY.training.model_copy(update={"steps": 6, "checkpoint_every": 2})})


@pytest.fixture(scope="module")
def bright_and_dark():
    chance = np.random.default_rng(3)
    labels = np.arange(40) % 2
    images = chance.integers(0, 60, (40, 8, 8, 1)) + labels[:, None, None, None] * 150
    return Classes(images.astype(np.uint8), labels, ["dark", "bright"])


@pytest.mark.parametrize("method", ["dm", "m3d", "dance"])
def test_pictures_change_and_stay_pictures(method, bright_and_dark, tmp_path):
    settings = TINY.model_copy(update={"method": method})
    experts = experts_of(bright_and_dark, settings, 1)
    folders = [fit_here(expert, expert_training(settings), tmp_path) for expert in experts]
    tasks = tasks_of(bright_and_dark, settings, 1, experts, folders)
    out = [fit_here(task, training_of(settings), tmp_path) for task in tasks]
    pictures, labels = pictures_in(out)
    assert pictures.shape == (4, 8, 8, 1)
    assert pictures.dtype == np.uint8
    assert labels.tolist() == [0, 0, 1, 1]
    assert pictures[:2].mean() < pictures[2:].mean()
    start = whole(tasks[0].build().images)
    assert (start != pictures[:2]).any()
    sheets = sorted((tmp_path / tasks[0].key / "sheets").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["step-000002.png", "step-000004.png", "step-000006.png"]


def test_order_of_classes_changes_nothing(bright_and_dark, tmp_path):
    tasks = tasks_of(bright_and_dark, TINY, 1)
    forth = [fit_here(task, training_of(TINY), tmp_path / "a") for task in tasks]
    back = [fit_here(task, training_of(TINY), tmp_path / "b") for task in tasks_of(bright_and_dark, TINY, 1)[::-1]]
    assert (pictures_in(forth)[0] == pictures_in(back[::-1])[0]).all()


@pytest.mark.parametrize("changed", [{"steps": 7}, {"ema": 0.5}, {"precision": "bf16"}])
def test_another_training_is_another_key(bright_and_dark, changed):
    other = TINY.model_copy(update={"training": TINY.training.model_copy(update=changed)})
    first, second = ({task.key for task in tasks_of(bright_and_dark, how, 1)} for how in (TINY, other))
    assert not first & second
    layout = TINY.model_copy(update={"training": TINY.training.model_copy(update={"checkpoint_every": 3, "workers": 2})})
    assert {task.key for task in tasks_of(bright_and_dark, layout, 1)} == first


def test_another_number_of_steps_is_another_expert(bright_and_dark):
    first, second = (
        experts_of(bright_and_dark, TINY.model_copy(update={"method": "dance", "expert_steps": steps}), 1)[0].key
        for steps in (3, 4)
    )
    assert first != second


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_dance_trains_on_a_gpu(bright_and_dark, tmp_path):
    settings = TINY.model_copy(update={"method": "dance"})
    experts = experts_of(bright_and_dark, settings, 1)
    folders = [fit_here(expert, expert_training(settings), tmp_path) for expert in experts]
    task = tasks_of(bright_and_dark, settings, 1, experts, folders)[0]
    fit_here(task, training_of(settings), tmp_path, ranks=Alone(torch.device("cuda")))


def test_evaluation_tells_classes_apart(bright_and_dark, tmp_path):
    data = bright_and_dark
    rows = at_random(data.labels, 3, 1)
    worth = evaluate(
        data.images[rows], data.labels[rows], 1, data.images, data.labels, data.standard(), tmp_path, runs=2, steps=30, width=8
    )
    assert worth.mean > 0.6
    assert worth.interval()[0] <= worth.mean <= worth.interval()[1]


def refused(data, **settings):
    with pytest.raises(UserError) as error:
        tasks_of(data, TINY.model_copy(update=settings), 1)
    return str(error.value)


def test_what_is_refused_before_the_work(bright_and_dark):
    data = bright_and_dark
    assert "20 pictures, 21 are asked for" in refused(data, per_class=21)
    assert "cut into 3 parts" in refused(data, factor=3)
    assert "one class only" in refused(Classes(data.images, data.labels * 0, ["dark"]))


def test_a_distance_that_is_no_number_ends_with_one_line(bright_and_dark, tmp_path):
    settings = TINY.model_copy(update={"learning_rate": 5.0})
    task = tasks_of(bright_and_dark, settings, 1)[0]
    task.distance = lambda real, made: made.sum() * float("nan")
    with refused_as("diverged", "1"):
        fit_here(task, training_of(settings), tmp_path)
