import pytest
import torch

from pd.diffusion.ema import Ema


def test_the_average_follows_the_formula() -> None:
    weight = torch.zeros(3)
    ema, expected = Ema([weight], 0.9), 0.0
    for step in range(200):
        weight = torch.full((3,), float(step))
        ema.update([weight], step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    (out,) = ema.averages
    assert out.tolist() == pytest.approx([expected] * 3, rel=1e-5)
    assert out[0] < 199


def test_no_decay_is_the_last_weights() -> None:
    ema = Ema([torch.zeros(2)], 0.0)
    ema.update([torch.tensor([1.0, 2.0])], 500)
    assert ema.averages[0].tolist() == [1.0, 2.0]


def test_it_goes_on_from_its_state() -> None:
    steps = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    whole, first = Ema([torch.zeros(4)], 0.9), Ema([torch.zeros(4)], 0.9)
    for step in range(10):
        whole.update([steps[step]], step)
        first.update([steps[step]], step)
    second = Ema([torch.ones(4)], 0.9)
    second.averages[0].copy_(first.averages[0])
    for step in range(10, 20):
        whole.update([steps[step]], step)
        second.update([steps[step]], step)
    assert torch.equal(whole.averages[0], second.averages[0])


def test_the_average_of_bfloat16_weights_is_kept_in_float32() -> None:
    weight = torch.ones(1, dtype=torch.bfloat16)
    ema = Ema([weight], 0.999)
    ema.update([torch.full((1,), 2.0, dtype=torch.bfloat16)], 10**6)
    assert ema.averages[0].item() == pytest.approx(1.001, abs=1e-6)  # 1.0 in bfloat16
    assert ema.averages[0].dtype == torch.float32


def test_other_parameters_are_refused() -> None:
    ema = Ema([torch.zeros(2)], 0.9)
    with pytest.raises(ValueError, match="not those"):
        ema.update([torch.zeros(3)], 0)
    with pytest.raises(ValueError, match="not those"):
        ema.update([torch.zeros(2), torch.zeros(2)], 0)
    with pytest.raises(ValueError, match="not in"):
        Ema([], 1.0)
