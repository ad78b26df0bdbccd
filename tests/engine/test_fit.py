"""Any task on Ray's workers, many side by side; both go on after a crash."""

from pathlib import Path

import pytest
import torch
from refusals import refused_as
from safetensors.torch import load_file
from small_tasks import Normed, Once, Stubborn

from pd.config.training import TrainingSettings
from pd.engine.fit import fit
from pd.engine.fit_many import fit_many

SETTINGS = TrainingSettings(steps=12, learning_rate=0.02, checkpoint_every=5)


@pytest.fixture(scope="module", autouse=True)
def ray_of_this_file():
    import ray
    import small_tasks
    from ray import cloudpickle

    from pd.engine.runtime import connect

    cloudpickle.register_pickle_by_value(small_tasks)  # Ray's workers do not look for modules where pytest does
    connect()
    yield
    cloudpickle.unregister_pickle_by_value(small_tasks)
    ray.shutdown()


def model(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.exhaustive
def test_two_workers_killed_in_the_middle_make_what_one_process_makes(tmp_path):
    seen = []
    # Adam would make whole steps of the last digits in which the ranks' sums differ.
    one = SETTINGS.model_copy(update={"optimiser": "sgd"})
    two = one.model_copy(update={"workers": 2})
    task = Once(log=tmp_path / "builds")
    out = fit(task, two, tmp_path / "two", lambda done, total, info: seen.append((done, total)))
    assert (tmp_path / "builds.killed").exists()
    assert len(task.log.read_text().splitlines()) == 4  # two ranks, twice
    assert seen[0] == (0, 12)
    assert seen[-1] == (12, 12)
    assert not (tmp_path / "two" / task.key / "checkpoints").exists()
    for name, value in model(fit(Normed(), one, tmp_path / "one")).items():
        torch.testing.assert_close(model(out)[name], value, rtol=1e-4, atol=1e-5)
    with refused_as("diverged"):
        fit(Stubborn("other"), two, tmp_path / "two")


def test_many_side_by_side_none_twice(tmp_path):
    log = tmp_path / "builds"
    tasks = [Normed(f"n{k}", log=log) for k in range(6)]
    first = fit_many(tasks[:3], SETTINGS, tmp_path, where="here")
    tasks[4] = Once("n4", log=log)
    found = fit_many(tasks, SETTINGS, tmp_path)
    assert found[:3] == first
    assert [path.parent.name for path in found] == [task.key for task in tasks]
    built = log.read_text().split()
    assert sorted(built) == sorted([*[task.key for task in tasks], tasks[4].key])  # the killed one twice
    assert fit_many(tasks, SETTINGS, tmp_path) == found
    assert log.read_text().split() == built
    for path in found[3:]:
        whole = fit_many([Normed(f"n{found.index(path)}")], SETTINGS, tmp_path / "again", where="here")[0]
        assert (whole / "model.safetensors").read_bytes() == (path / "model.safetensors").read_bytes()


def test_many_tell_what_the_first_to_fail_did_wrong(tmp_path):
    with refused_as("diverged"):
        fit_many([Normed("a"), Stubborn("b")], SETTINGS, tmp_path)
    with refused_as("no-resources"):
        fit_many([Normed("c")], SETTINGS, tmp_path, cpus=10_000)
