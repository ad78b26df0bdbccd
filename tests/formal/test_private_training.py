"""The same noised sum on any number of ranks, the same weights after a kill, and no other plan on the way."""

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused_as
from torch import Tensor

from pd.config import DataSettings, ModelSettings
from pd.config.formal import FormalSettings
from pd.diffusion.components import Components, build
from pd.dp.noise import NoiseSource
from pd.formal import sad
from pd.formal.people import People, bounded
from pd.formal.plan import FEWEST, MOST, Plan, make_plan
from pd.formal.private_training import How, PrivateDenoising, train_privately
from pd.training.ranks import Alone

SOURCE = NoiseSource.of_seed(5)
HOW = How(seed=1, micro_batch=3, checkpoint_every=2)


@pytest.fixture(scope="module")
def plan() -> Plan:
    settings = FormalSettings(epsilon=8, delta=1e-2, steps=4, batch=8, noise_draws=2, warm_up="none")
    return make_plan(settings, 20)


def components() -> Components:
    return build(ModelSettings(unet="tiny"), DataSettings(size=16), 3)


@pytest.fixture(scope="module")
def people() -> People:
    rng = np.random.default_rng(0)
    first = np.concatenate([[0], rng.integers(1, 4, 20).cumsum()])
    latents = torch.from_numpy(rng.standard_normal((first[-1], *components().latent_shape), dtype=np.float32))
    return People(latents, torch.from_numpy(rng.integers(0, 2, first[-1])), torch.from_numpy(first))


@pytest.fixture(scope="module")
def text() -> Tensor:
    return torch.randn(3, 77, 16, generator=torch.Generator().manual_seed(0))


class OneOf(Alone):
    """A rank of several whose sums are added up by hand: `sum_` leaves what there is."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__(torch.device("cpu"))
        self.rank, self.world = rank, world
        self.sums: list[Tensor] = []

    def sum_(self, tensors: object) -> None:
        self.sums = [tensor.clone() for tensor in tensors]  # type: ignore[attr-defined]


class Known(Alone):
    """Puts a sum in the place of a rank's own."""

    def __init__(self, sums: list[Tensor]) -> None:
        super().__init__(torch.device("cpu"))
        self.sums = sums

    def sum_(self, tensors: object) -> None:
        for tensor, value in zip(tensors, self.sums, strict=True):  # type: ignore[call-overload]
            tensor.copy_(value)


def test_ranks_make_the_same_noised_sum(plan: Plan, people: People, text: Tensor) -> None:
    parts = components()
    task = PrivateDenoising(parts, people, text, plan, HOW, SOURCE)
    alone = task.noised_sum(parts.unet, 3, Alone(torch.device("cpu"))).parts
    for world in (2, 4):
        ranks = [OneOf(rank, world) for rank in range(world)]
        for rank in ranks:
            task.noised_sum(parts.unet, 3, rank)
        total = [torch.stack(sums).sum(dim=0) for sums in zip(*(rank.sums for rank in ranks), strict=True)]
        found = task.noised_sum(parts.unet, 3, Known(total)).parts
        assert all(torch.allclose(found[name], value, atol=1e-5) for name, value in alone.items())


def weights(parts: Components) -> Tensor:
    return torch.cat([value.detach().flatten() for value in parts.unet.parameters()])


def test_resumed_training_is_the_same(plan: Plan, people: People, text: Tensor, tmp_path: Path) -> None:
    whole, parts = components(), components()
    train_privately(whole, people, text, plan, HOW, SOURCE, tmp_path / "a")

    class Stop(Exception):
        pass

    def stop(done: int, total: int, info: object) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        train_privately(parts, people, text, plan, HOW, SOURCE, tmp_path / "b", stop)
    resumed = components()
    train_privately(resumed, people, text, plan, HOW, SOURCE, tmp_path / "b")
    assert torch.equal(weights(whole), weights(resumed))
    assert not torch.equal(weights(whole), weights(components()))


def test_another_noise_is_refused(plan: Plan, people: People, text: Tensor, tmp_path: Path) -> None:
    train_privately(components(), people, text, plan, HOW, SOURCE, tmp_path)
    with refused_as("other-inputs"):
        train_privately(components(), people, text, replace(plan, noise=plan.noise / 2), HOW, SOURCE, tmp_path)


def test_an_ensemble_is_learned_from_without_a_judge_and_without_white_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    student = components()
    teachers = [copy.deepcopy(student.unet).eval() for _ in range(2)]
    gradients: list[Tensor] = []
    release = sad.release_output_gradient

    def seen(gradient: Tensor, *more: object) -> Tensor:
        gradients.append(gradient)
        return release(gradient, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(sad, "release_output_gradient", seen)
    monkeypatch.setattr(sad, "_teach", None)  # a discriminator would hold which teachers were drawn, which must stay secret
    text = torch.randn(4, 77, 16, generator=torch.Generator().manual_seed(0))
    inputs = torch.randn(4, *student.latent_shape, generator=torch.Generator().manual_seed(1))
    how = sad.Sad("ensemble", 1, 4, 1e-3, True, 0, clip=1.0, noise=0.5)
    sad.distil(student, teachers, lambda step, rng: (inputs, text), how, SOURCE)
    assert float(gradients[0].abs().max()) < 1e-6  # it says what the teacher says: nothing is left to learn


def test_no_loss_is_shown(plan: Plan, people: People, text: Tensor, tmp_path: Path) -> None:
    shown: list[object] = []
    train_privately(components(), people, text, plan, HOW, SOURCE, tmp_path, lambda done, total, info: shown.append(info))
    assert shown == [{}] * 4


def test_images_of_a_person_are_bounded() -> None:
    names = ["a"] * 5 + ["b"] + ["c"] * 3
    rows, first = bounded(names, 2, seed=0)
    assert first.tolist() == [0, 2, 3, 5]
    assert [[names[i] for i in rows[a:b]] for a, b in itertools.pairwise(first)] == [["a", "a"], ["b"], ["c", "c"]]
    assert len(set(rows.tolist())) == 5


def test_nobody_changes_which_images_of_others_enter() -> None:
    names = [f"p{number % 7}" for number in range(60)]
    keys = [f"{name}/{number}" for number, name in enumerate(names)]

    def entered(rows: list[int]) -> dict[str, list[str]]:
        """The images of each person that enter, of those at these rows."""
        chosen, first = bounded([names[row] for row in rows], 3, seed=4)
        found = [keys[rows[place]] for place in chosen.tolist()]
        return {found[a].partition("/")[0]: found[a:b] for a, b in itertools.pairwise(first.tolist())}

    whole = entered(list(range(60)))
    one_less = entered([row for row in range(60) if row != names.index("p3")])
    assert {name: rows for name, rows in one_less.items() if name != "p3"} == {
        name: rows for name, rows in whole.items() if name != "p3"
    }
    members = entered([row for row in range(60) if names[row] in ("p1", "p4", "p5")])  # without hold-out people
    assert members == {name: whole[name] for name in ("p1", "p4", "p5")}


def test_plan_stays_within_its_budget() -> None:
    for settings in (
        FormalSettings(epsilon=1, steps=50, batch=500),
        FormalSettings(epsilon=10, steps=50, batch=500, warm_up="none"),
        FormalSettings(epsilon=3, steps=50, method="dp_sad", teacher="ensemble", teachers=100),
    ):
        found = make_plan(settings, 60_000).ledger.epsilon(1e-5).value
        assert 0.9 * settings.epsilon < found <= settings.epsilon


def test_steps_follow_budget_and_people() -> None:
    def steps(people: int, **changes: object) -> int:
        return make_plan(FormalSettings.model_validate({"delta": 1e-6, **changes}), people).steps

    assert steps(60_000, epsilon=0.5) < steps(60_000, epsilon=1) < steps(60_000, epsilon=10)
    assert (steps(100), steps(60_000), steps(60_000, steps=7)) == (FEWEST, MOST, 7)
    assert steps(1000) < steps(60_000)  # of a thousand people each is drawn four times as often
    free = make_plan(FormalSettings(epsilon=1, delta=1e-6, warm_up="none"), 60_000)
    assert FEWEST < free.steps < MOST
    assert 0.8 < free.noise < 1.6  # about 1, as the default aims at


def test_bad_plans_are_refused() -> None:
    for few in (0, 1):
        with refused_as("too-few-people", few):
            make_plan(FormalSettings(), few)
    with refused_as("bad-value", "1", "20"):
        make_plan(FormalSettings(delta=0.1), 20)
    with refused_as("too-few-people", "50"):
        make_plan(FormalSettings(method="dp_sad", teacher="ensemble", teachers=50, delta=1e-3), 60)
