"""The batch size finder, with a limit on memory that a test sets: no GPU is needed."""

from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from pd.config import DataSettings, ModelSettings
from pd.diffusion.components import build
from pd.diffusion.denoiser import Denoiser
from pd.engine.training import micro_batch as train_micro_batch
from pd.engine.training.micro_batch import find_micro_batch, largest_that_fits
from pd.engine.training.partition import stage_of
from pd.errors import UserError

CPU = torch.device("cpu")


def settings(**changes: Any) -> ModelSettings:
    return ModelSettings.model_validate({"unet": "tiny", "batch": 12, "micro_batch": "auto", "workers": 0} | changes)


class Limited(Denoiser):
    """A real denoiser on a device that holds so many rows, in its forward or its backward."""

    most = 12
    in_backward = False

    def forward(self, latents: Tensor, *rest: Tensor) -> Tensor:
        self.tried.append(len(latents))
        loss = super().forward(latents, *rest)
        if len(latents) > self.most:
            if not self.in_backward:
                raise torch.OutOfMemoryError("no room")
            loss.register_hook(self._full)
        return loss

    def _full(self, gradient: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no room")


def limited(chosen: ModelSettings, most: int, in_backward: bool = False) -> Limited:
    denoiser = Limited(build(chosen, DataSettings(size=16), 1), chosen)
    denoiser.most, denoiser.in_backward, denoiser.tried = most, in_backward, []
    return denoiser


@pytest.mark.parametrize("in_backward", [False, True])
def test_it_is_the_largest_divisor_that_fits_and_the_search_leaves_no_trace(in_backward: bool) -> None:
    denoiser = limited(settings(), 5, in_backward)
    weights = {name: value.clone() for name, value in denoiser.state_dict().items()}
    random = torch.get_rng_state()
    assert largest_that_fits(denoiser, settings(), 12, 1, CPU) == 4
    assert denoiser.tried == [12, 6, 4, 4]  # what fits is tried twice: with gradients there it takes more
    assert all(torch.equal(value, weights[name]) for name, value in denoiser.state_dict().items())
    assert all(parameter.grad is None for parameter in denoiser.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_what_does_not_fit_even_alone_is_refused() -> None:
    with pytest.raises(UserError, match=r"not even one image .* fit.*gradient_checkpointing"):
        largest_that_fits(limited(settings(), 0), settings(), 12, 1, CPU)


def test_weights_alone_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Limited, device: torch.device) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Limited, "to", full)
    with pytest.raises(UserError, match=r"not even one image .* fit"):
        largest_that_fits(limited(settings(), 12), settings(), 12, 1, CPU)


def test_the_rank_with_the_least_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_another(found: Tensor, operation: distributed.ReduceOp) -> None:
        assert operation == distributed.ReduceOp.MIN
        found.clamp_(max=2)

    monkeypatch.setattr(distributed, "all_reduce", with_another)
    assert largest_that_fits(limited(settings(), 12), settings(workers=2), 6, 2, CPU) == 2


def test_on_a_cpu_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_micro_batch, "largest_that_fits", lambda *_: pytest.fail("it searches"))
    denoiser = limited(settings(), 12)
    assert find_micro_batch(denoiser, settings(), 1, CPU) == 12
    assert find_micro_batch(denoiser, settings(workers=3), 3, CPU) == 4
    assert find_micro_batch(denoiser, settings(micro_batch=None), 1, CPU) == 12
    assert find_micro_batch(denoiser, settings(micro_batch=3), 1, torch.device("cuda")) == 3
    with pytest.raises(UserError, match="does not divide"):
        find_micro_batch(denoiser, settings(workers=5), 5, CPU)


def test_on_a_gpu_auto_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_micro_batch, "largest_that_fits", lambda denoiser, settings, share, *_: share // 2)
    assert find_micro_batch(limited(settings(), 12), settings(), 1, torch.device("cuda")) == 6


def test_room_is_kept_for_what_comes_later() -> None:
    denoiser = limited(settings(), 12)
    trained = sum(parameter.numel() for parameter in denoiser.parameters())
    held = train_micro_batch._held_later
    assert held(denoiser, settings(), 1) == 12 * trained  # two moments and the average, float32
    shares = [held(denoiser, settings(zero_stage=2), world) for world in (2, 4)]
    assert shares[0] - shares[1] == 4 * trained  # a copy as well, half of it and then a quarter
    assert held(denoiser, settings(zero_stage=2, offload="optimizer"), 4) < shares[1]
    denoiser.text_encoder.requires_grad_(False)  # type: ignore[union-attr]
    assert held(denoiser, settings(), 1) < 12 * trained


def test_small_models_are_not_cut_up_and_a_rank_alone_has_nobody_to_share_with() -> None:
    auto = settings()
    assert stage_of(auto, 4_000_000, 2) == 0
    assert stage_of(auto, 860_000_000, 2) == 2
    assert stage_of(settings(offload="optimizer"), 4_000_000, 1) == 2
    assert stage_of(settings(zero_stage=3), 4_000_000, 2) == 3
    assert stage_of(settings(zero_stage=3), 860_000_000, 1) == 0
