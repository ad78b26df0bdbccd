"""Several ranks train as one process with the whole batch does."""

from pathlib import Path

import pytest
import torch
from many_ranks import on_ranks
from safetensors.torch import load_file
from small_tasks import Adversary, Normed
from torch import nn

from pd.config.training import TrainingSettings
from pd.training.batch_norm import over_ranks
from pd.training.loop import fit_here
from pd.training.ranks import share_of, shares

SETTINGS = TrainingSettings(steps=12, learning_rate=0.02, checkpoint_every=5, ema=0.8)
ROWS = 7  # no number of ranks divides it


def images() -> torch.Tensor:
    return torch.randn(ROWS, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float32) * 2 + 5


def norm() -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(3, momentum=0.3)
    made.weight.data = torch.tensor([0.5, 1.0, 2.0])
    made.bias.data = torch.tensor([1.0, -1.0, 0.0])
    return made


def _same_norm(ranks, layout):
    rows = share_of(ROWS, ranks.rank, ranks.world)
    mine = images()[rows].contiguous(memory_format=layout).requires_grad_()
    layer = over_ranks(norm(), ranks)
    out = ranks.gather(layer(mine), shares(ROWS, ranks.world))
    (out.pow(3).sum()).backward()
    alone, given = norm(), images().contiguous(memory_format=layout).requires_grad_()
    whole = alone(given)
    whole.pow(3).sum().backward()
    # Each rank computes the whole loss, so what is summed in the backward pass is `world` times its gradient.
    torch.testing.assert_close(out, whole)
    torch.testing.assert_close(mine.grad / ranks.world, given.grad[rows], rtol=1e-4, atol=1e-3)
    for gradient in (layer.weight.grad, layer.bias.grad):
        ranks.mean_([gradient])
    torch.testing.assert_close(layer.weight.grad, alone.weight.grad, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(layer.running_mean, alone.running_mean)
    torch.testing.assert_close(layer.running_var, alone.running_var)
    assert layer.state_dict().keys() == alone.state_dict().keys()
    torch.testing.assert_close(layer.eval()(given), alone.eval()(given))


def _compare(ranks, folder):
    for layout in (torch.contiguous_format, torch.channels_last):
        _same_norm(ranks, layout)
    fit_here(Normed(rows=ROWS), SETTINGS, folder, ranks=ranks)
    fit_here(Adversary(), SETTINGS, folder, ranks=ranks)


def test_ranks_are_as_one_process(tmp_path: Path):
    on_ranks(3, _compare, tmp_path / "ranks", tmp_path / "many")
    for task in (Normed(rows=ROWS), Adversary()):
        one = load_file(fit_here(task, SETTINGS, tmp_path / "one") / "model.safetensors")
        many = load_file(tmp_path / "many" / task.key / "result" / "model.safetensors")
        assert one.keys() == many.keys()
        for name, value in one.items():
            torch.testing.assert_close(many[name], value, rtol=1e-4, atol=1e-5)


def test_an_adversary_resumes_to_the_same_bytes(tmp_path: Path):
    whole = fit_here(Adversary(), SETTINGS, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit_here(Adversary(stop_at=8), SETTINGS, tmp_path / "b")
    resumed = fit_here(Adversary(), SETTINGS, tmp_path / "b")
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
