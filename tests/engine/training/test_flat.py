"""Two real ranks with gloo: the gradients that they leave to the optimiser are the mean of both, whoever steps what."""

import tempfile
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn

from pd.engine.cpu import shared_memory as train_shared_memory
from pd.engine.cpu.flat import FlatWeights, SharedWeights, flatten

LIMIT = 0.5


def module() -> nn.Sequential:
    torch.manual_seed(3)
    made = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3), nn.Linear(3, 1, bias=False))
    made[1].bias.requires_grad_(False)
    return made


def backward(made: nn.Module, rank: int) -> None:
    made(torch.linspace(-1, 1, 20).view(4, 5) * (rank + 1)).square().mean().backward()


def wanted() -> tuple[list[torch.Tensor], float]:
    """Weights after one step with the clipped mean of two ranks' gradients, parameter by parameter, and the norm."""
    made = module()
    trained = [parameter for parameter in made.parameters() if parameter.requires_grad]
    backward(made, 0)
    backward(made, 1)
    for parameter in trained:
        assert parameter.grad is not None
        parameter.grad /= 2
    norm = nn.utils.clip_grad_norm_(trained, LIMIT).item()
    torch.optim.SGD(trained, lr=0.1).step()
    return [parameter.detach() for parameter in trained], norm


def rank_of_two(rank: int, folder: str, room: bool) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    memory = Path(folder, "memory" if room else f"memory-{rank}")  # without room: as on two machines
    memory.mkdir(exist_ok=True)
    train_shared_memory._MEMORY = memory
    made = module()
    flat = flatten(made)
    assert type(flat) is (SharedWeights if room else FlatWeights)
    assert not list(memory.iterdir())  # nothing is left behind, however the processes end
    optimiser = torch.optim.SGD([flat.mine], lr=0.1)
    for step in range(3):
        backward(made, rank)
        if step < 2:
            flat.zero_grad()  # only the last gradients count
    norm = flat.reduce(LIMIT)
    optimiser.step()
    flat.settle()
    expected, expected_norm = wanted()
    assert norm.item() == pytest.approx(expected_norm, rel=1e-5)
    got = [parameter for parameter in made.parameters() if parameter.requires_grad]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one.detach(), other)
    held = [(piece.name, piece.start + i) for other in range(2) for piece in flat.pieces(other) for i in range(piece.length)]
    elements = [(name, i) for name, p in made.named_parameters() if p.requires_grad for i in range(p.numel())]
    assert sorted(held) == sorted(elements * (1 if flat.parted else 2))
    for piece in flat.pieces(rank):
        whole = made.get_parameter(piece.name).detach().flatten()
        assert torch.equal(piece.of(flat.mine), whole[piece.start : piece.start + piece.length])
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.parametrize("room", [True, False], ids=["one machine", "two machines"])
def test_two_ranks_step_with_the_clipped_mean_of_their_gradients(room: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:  # the ranks fail with what they assert
        spawn(rank_of_two, (folder, room), nprocs=2)


def test_without_room_nothing_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_shared_memory, "_MEMORY", tmp_path)
    assert train_shared_memory._create(2**60) is None
    monkeypatch.setattr(train_shared_memory, "_MEMORY", tmp_path / "missing")
    assert train_shared_memory._create(4) is None
    assert not list(tmp_path.iterdir())
