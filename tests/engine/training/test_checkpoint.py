"""Checkpoints: parts of any layout, put together in any other."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pd.engine.training.checkpoint import AVERAGE, KINDS, WEIGHTS, Checkpoint, newest, write, write_client
from pd.engine.training.engine import take_weights
from pd.engine.training.partition import Piece
from pd.errors import UserError

SIZES = {"first": 7, "second": 1, "third": 12}


def whole(kind: str) -> dict[str, Tensor]:
    """The parameters, flat, with numbers that tell kind, parameter and position."""
    return {
        name: torch.arange(size) + 100.0 * number + 1000.0 * KINDS.index(kind)
        for number, (name, size) in enumerate(SIZES.items())
    }


def layout(rank: int, world: int) -> list[Piece]:
    """All parameters in a row, cut into equal parts, as ZeRO stages 1 and 2 do, the last one padded."""
    part, at, found = -(-sum(SIZES.values()) // world), 0, []
    for name, size in SIZES.items():
        low, high = max(at, rank * part), min(at + size, (rank + 1) * part)
        if low < high:
            found.append(Piece(name, low - at, high - low, 0, low - rank * part))
        at += size
    return found


def empty(world: int) -> list[Tensor]:
    return [torch.full((-(-sum(SIZES.values()) // world),), -1.0)]


def write_all(folder: Path, world: int) -> None:
    folder.mkdir()
    for rank in range(world):
        held = {}
        for kind in KINDS:
            held[kind] = empty(world)
            for piece in layout(rank, world):
                piece.of(held[kind][0]).copy_(whole(kind)[piece.name][piece.start : piece.start + piece.length])
        write(folder, rank, held, layout(rank, world))
    write_client(folder, {"step": 5})


@pytest.mark.parametrize("writers", [1, 2, 3, 20])
@pytest.mark.parametrize("readers", [1, 2, 7])
def test_any_number_of_ranks_reads_what_any_other_wrote(tmp_path: Path, writers: int, readers: int) -> None:
    write_all(tmp_path / "c", writers)
    checkpoint = Checkpoint(tmp_path / "c")
    assert checkpoint.client == {"step": 5}
    assert checkpoint.names() == set(SIZES)
    for kind in KINDS:
        for rank in range(readers):
            tensors = empty(readers)
            checkpoint.fill(kind, tensors, layout(rank, readers))
            for piece in layout(rank, readers):
                expected = whole(kind)[piece.name][piece.start : piece.start + piece.length]
                assert torch.equal(piece.of(tensors[0]), expected)


class Three(nn.Module):
    def __init__(self, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))


def test_a_module_takes_the_weights_in_its_shapes_and_not_what_is_frozen(tmp_path: Path) -> None:
    write_all(tmp_path / "c", 2)
    module = Three(first=(7,), second=(1, 1), third=(3, 4), frozen=(2,))
    module.frozen.requires_grad_(False)
    take_weights(module, Checkpoint(tmp_path / "c"))
    assert torch.equal(module.third, whole(WEIGHTS)["third"].view(3, 4))
    assert torch.equal(module.frozen, torch.zeros(2))


def test_the_newest_checkpoint_is_the_one_of_most_steps_that_is_whole(tmp_path: Path) -> None:
    for name, step in (("a", 9), ("b", 7), ("c", 8), ("d", 6)):
        write_all(tmp_path / name, 2)
        write_client(tmp_path / name, {"step": step, "parts": 2})
    (tmp_path / "a" / "rank_1.safetensors").unlink()
    whole_file = (tmp_path / "c" / "rank_0.safetensors").read_bytes()
    (tmp_path / "c" / "rank_0.safetensors").write_bytes(whole_file[:-4])
    (tmp_path / "e").mkdir()
    assert newest(tmp_path.iterdir()) == tmp_path / "b"
    assert newest([tmp_path / "a", tmp_path / "nowhere"]) is None


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    write_all(tmp_path / "c", 2)
    with pytest.raises(UserError, match="3 parameters, this model trains 1 others"):
        take_weights(Three(first=(7,)), Checkpoint(tmp_path / "c"))
    with pytest.raises(UserError, match="has 7 of 9 elements of first"):
        take_weights(Three(first=(9,), second=(1,), third=(12,)), Checkpoint(tmp_path / "c"))


def test_a_part_that_is_missing_cut_short_or_pickled_is_noticed(tmp_path: Path) -> None:
    write_all(tmp_path / "c", 2)
    part = tmp_path / "c" / "rank_1.safetensors"
    content = part.read_bytes()
    part.unlink()
    with pytest.raises(UserError, match="has 2 of 12 elements of third"):
        Checkpoint(tmp_path / "c").read(AVERAGE, "third", 0, 12)
    for spoilt in (content[:-8], b"\x80\x04pickle", b""):
        part.write_bytes(spoilt)
        with pytest.raises(UserError, match="cannot be read"):
            Checkpoint(tmp_path / "c")
    part.write_bytes(content)
    (tmp_path / "c" / "client.json").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        Checkpoint(tmp_path / "c")


def test_files_hold_pieces_by_name_and_no_memory_beyond_them(tmp_path: Path) -> None:
    write_all(tmp_path / "c", 2)
    tensors = load_file(tmp_path / "c" / "rank_1.safetensors")
    assert set(tensors) == {f"{kind}:{name}" for kind in KINDS for name in ("third:2",)}
    assert {len(tensor) for tensor in tensors.values()} == {10}
    assert json.loads((tmp_path / "c" / "client.json").read_text()) == {"step": 5}
