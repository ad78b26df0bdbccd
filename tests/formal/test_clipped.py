"""Gradients of people without holding them are the explicit ones, and no person moves a sum by more than the clip."""

import pytest
import torch
from refusals import refused_as
from torch import Tensor, nn

from pd.dp.noise import NoiseSource
from pd.formal.clipped import ClippedSum, NoisedSum, PersonGradients
from pd.training.ranks import Alone

SOURCE = NoiseSource.of_seed(3)


class Net(nn.Module):
    """Every kind of layer, one of them used twice, strides, and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False)
        self.point = nn.Conv2d(8, 8, 1)
        self.words = nn.Embedding(5, 8)
        self.layer_norm = nn.LayerNorm(8)
        self.attend = nn.Linear(8, 8)
        self.wide = nn.Linear(8, 64)
        self.frozen = nn.Linear(64, 64).requires_grad_(False)
        self.out = nn.Linear(64, 1)

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        x = self.norm(self.conv_in(images)).relu()
        x = self.point(self.point(self.down(x))).flatten(2).transpose(1, 2)
        x = x + self.words(words).mean(dim=1, keepdim=True)
        x = self.attend(self.layer_norm(x)).tanh()
        return self.out(self.frozen(self.wide(x).relu())).mean(dim=1).squeeze(1)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def batch(people: int, each: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(people * each, 2, 8, 8) * 3, torch.randint(0, 5, (people * each, 4))


def explicit(net: Net, images: Tensor, words: Tensor, people: int, clip: float) -> tuple[dict[str, Tensor], list[float]]:
    """Person by person, by torch's own backward."""
    each = len(images) // people
    trained = {name: value for name, value in net.named_parameters() if value.requires_grad}
    total = {name: torch.zeros_like(value) for name, value in trained.items()}
    norms = []
    for p in range(people):
        rows = slice(p * each, (p + 1) * each)
        loss = net(images[rows], words[rows]).square().mean()
        grads = torch.autograd.grad(loss, list(trained.values()))
        norm = torch.stack([grad.square().sum() for grad in grads]).sum().sqrt()
        norms.append(float(norm))
        for name, grad in zip(trained, grads, strict=True):
            total[name] += grad * min(1.0, clip / float(norm))
    return total, norms


def summed(net: nn.Module, images: Tensor, words: Tensor, people: int, clip: float) -> dict[str, Tensor]:
    total = ClippedSum(net, clip)
    if people:
        PersonGradients(net).add(total, lambda: net(images, words).square(), people)
    return dict(total.noised(0.0, SOURCE, 0).parts)


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("clip", [0.05, 1e6])
def test_sum_is_that_of_explicit_gradients(net: Net, each: int, clip: float) -> None:
    images, words = batch(6, each)
    expected, norms = explicit(net, images, words, 6, clip)
    assert clip == 1e6 or max(norms) > clip
    found = summed(net, images, words, 6, clip)
    assert found.keys() == expected.keys()
    size = torch.cat([value.flatten() for value in expected.values()]).norm()
    off = torch.cat([(found[name] - value).flatten() for name, value in expected.items()]).norm()
    assert off / size < (2e-4 if clip < 1 else 1e-5)  # where all are clipped, by the slack that keeps norms below the clip


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e30, float("inf"), float("nan")])
def test_one_person_moves_the_sum_by_at_most_the_clip(net: Net, scale: float) -> None:
    images, words = batch(5, 2)
    images[-2:] *= scale
    clip = 0.3
    with_one, without = summed(net, images, words, 5, clip), summed(net, images[:-2], words[:-2], 4, clip)
    moved = torch.cat([(with_one[name] - without[name]).flatten() for name in with_one])
    assert float(moved.norm()) <= clip * (1 + 1e-5)


def test_no_gradient_is_left_where_an_optimiser_reads(net: Net) -> None:
    images, words = batch(3, 1)
    total = ClippedSum(net, 1.0)
    PersonGradients(net).add(total, lambda: net(images, words).square(), 3)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not hasattr(total, "fill")
    noised = total.noised(1.0, SOURCE, 0)
    assert isinstance(noised, NoisedSum)
    noised.fill(net, 3)
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in net.parameters())


def test_noise_has_its_deviation(net: Net) -> None:
    zero = ClippedSum(net, 2.0).noised(1.5, SOURCE, 1)
    values = torch.cat([value.flatten() for value in zero.parts.values()])
    assert float(values.std()) == pytest.approx(3.0, rel=0.05)
    again, other = ClippedSum(net, 2.0).noised(1.5, SOURCE, 1), ClippedSum(net, 2.0).noised(1.5, SOURCE, 2)
    assert all(torch.equal(again.parts[name], value) for name, value in zero.parts.items())
    assert not torch.equal(other.parts["out.weight"], zero.parts["out.weight"])


def test_micro_batches_add_up(net: Net) -> None:
    images, words = batch(6, 2)
    whole = summed(net, images, words, 6, 0.1)
    total, people = ClippedSum(net, 0.1), PersonGradients(net)
    for start in (0, 4, 8):
        rows = slice(start, start + 4)
        people.add(total, lambda rows=rows: net(images[rows], words[rows]).square(), 2)
    total.over_ranks(Alone())
    parts = total.noised(0.0, SOURCE, 0).parts
    assert all(torch.allclose(parts[name], value, atol=1e-6) for name, value in whole.items())


def test_layers_without_a_rule_are_refused() -> None:
    for layer in (nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=2), nn.LSTM(4, 4)):
        with refused_as("bad-model"):
            PersonGradients(nn.Sequential(layer))


def test_opacus_clips_alike() -> None:
    """An oracle with another way to the same sum: Opacus' per-sample gradients by hooks."""
    from opacus.grad_sample import GradSampleModule

    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    images = torch.randn(7, 1, 8, 8)
    total = ClippedSum(plain, 0.5)
    PersonGradients(plain).add(total, lambda: plain(images).square().sum(dim=1), 7)
    ours = total.noised(0.0, SOURCE, 0).parts
    theirs = GradSampleModule(plain, loss_reduction="sum")
    theirs(images).square().sum().backward()
    samples = {name.removeprefix("_module."): value.grad_sample for name, value in theirs.named_parameters()}
    norms = torch.stack([value.flatten(1).square().sum(dim=1) for value in samples.values()]).sum(dim=0).sqrt()
    for name, value in samples.items():
        expected = torch.einsum("n,n...->...", (0.5 / norms).clamp(max=1.0), value)
        assert torch.allclose(ours[name], expected, atol=2e-4 * float(expected.norm()) + 1e-6)
