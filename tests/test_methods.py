"""What every method keeps, over the table of all."""

import ast
from pathlib import Path

import pytest
import torch
from many_ranks import on_ranks
from safetensors.torch import load_file

import pd
from pd.config import section_keys
from pd.config.training import TrainingSettings
from pd.methods import METHODS
from pd.training.loop import fit_here

ROOT = Path(pd.__file__).parent
TRAINED = {method.id: method for method in METHODS if method.tiny}
SETTINGS = TrainingSettings(steps=6, learning_rate=0.01, checkpoint_every=2)


# Adam makes whole steps of gradients that are rounding errors, such as those of biases before batch norm.
PLAIN = SETTINGS.model_copy(update={"optimiser": "sgd"})


def fit(name, folder, ranks=None, die_at=None, settings=SETTINGS):
    """The folder of a tiny training, killed before a step where that is asked for."""
    task = TRAINED[name].tiny()
    draw = task.batch

    def batch(step, rank, world):
        if step == die_at:
            raise KeyboardInterrupt
        return draw(step, rank, world)

    if die_at is not None:
        task.batch = batch
    return fit_here(task, settings, folder, ranks=ranks)


def held(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def weights(folder):
    return {path.name: load_file(path) for path in sorted(folder.rglob("*.safetensors"))}


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_same_bytes_also_after_a_kill(name, tmp_path):
    first = held(fit(name, tmp_path / "first"))
    assert held(fit(name, tmp_path / "second")) == first
    with pytest.raises(KeyboardInterrupt):
        fit(name, tmp_path / "killed", die_at=5)
    resumed = held(fit(name, tmp_path / "killed"))
    assert {path for path in resumed if first[path] != resumed[path]} <= {"facts.json"}  # it took another time
    assert any(path.endswith(".safetensors") for path in first)
    assert all(Path(path).suffix in (".safetensors", ".json") for path in first)


def _on_many(ranks, folder, names):
    for name in names:
        fit(name, folder / name, ranks, settings=PLAIN)


# Four processes start slowly: only what is told to be alike on four is tried so.
FOUR = [name for name in TRAINED if TRAINED[name].room.startswith(("labels/", "classify/semi_vit"))]


@pytest.mark.parametrize(("world", "names"), [(2, list(TRAINED)), pytest.param(4, FOUR, marks=pytest.mark.exhaustive)])
def test_many_ranks_are_as_one(tmp_path, world, names):
    on_ranks(world, _on_many, tmp_path / "ranks", tmp_path / "two", names)
    for name in names:
        one, (many,) = weights(fit(name, tmp_path / "one" / name, settings=PLAIN)), (tmp_path / "two" / name).iterdir()
        two = weights(many / "result")
        assert one.keys() == two.keys()
        for file, tensors in one.items():
            for key, tensor in tensors.items():
                torch.testing.assert_close(two[file][key], tensor, rtol=1e-3, atol=1e-4, msg=f"{name} {file} {key}")


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.id)
def test_a_row_names_what_there_is(method):
    tree = ast.parse((ROOT / method.room).read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not {name for name in imported if name.split(".")[0] in ("ray", "deepspeed", "pickle")}
    sections = {key.partition(".")[0] for key in section_keys()}
    assert method.setting in set(section_keys()) | sections


def test_ids_are_names():
    assert len({method.id for method in METHODS}) == len(METHODS)
