"""The distilling methods by hand-computed cases, and what holds them to their promises."""

from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused_as
from torch import nn

from pd.config import ReidSettings
from pd.config.recognisers import METHODS, CrrcdSettings, G2dSettings
from pd.reid.distil import Distilled
from pd.reid.embed import embed
from pd.reid.methods.aird import adapted, instance, relation
from pd.reid.methods.base import Seen, remaining
from pd.reid.methods.crrcd import Crrcd, contrast, knowledge, others
from pd.reid.network import build, load
from pd.reid.pairs import auc_of_pairs
from pd.reid.recipe import Pictures, lineage, make
from pd.reid.rows import Held
from pd.reid.task import training_settings
from pd.reid.views import seen
from pd.training.divergence import LossWatch
from pd.training.loop import fit_here

QUICK = ReidSettings(steps=40, identities_per_batch=8, dim=32, learning_rate=3e-3)


def made(people, folder: Path, name: str, settings: ReidSettings = QUICK, **others) -> Path:
    images, names = people
    given = Pictures(Held(images), names, "these")
    return make(METHODS[name], settings, given, 3, lambda task: fit_here(task, training_settings(settings), folder), **others)


def test_contrast_of_a_known_case() -> None:
    # The positive is at cosine 1, one negative at -1 and one at 0: -log h(10) - mean(log(1 - h(-10)), log(1 - h(0))).
    anchor, positive = torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    negative = torch.tensor([[[-1.0, 0.0], [0.0, 5.0]]])
    h = torch.sigmoid(torch.tensor([10.0, -10.0, 0.0], dtype=torch.float64))
    wanted = -h[0].log() - ((1 - h[1]).log() + (1 - h[2]).log()) / 2
    assert contrast(anchor, positive, negative).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_knowledge_is_zero_for_the_teachers_scores_and_the_softened_divergence_else() -> None:
    teacher, student = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert knowledge(teacher, teacher, 4.0).item() == pytest.approx(0, abs=1e-7)
    p = torch.softmax(teacher / 4, 1)
    assert knowledge(student, teacher, 4.0).item() == pytest.approx(16 * (p * (p / 0.5).log()).sum().item(), rel=1e-5)


def test_instance_and_relation_of_known_cases() -> None:
    teacher, student = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert instance(teacher, student).item() == pytest.approx(0.5)
    assert relation(teacher, student).item() == pytest.approx(0.5)  # two of four cosines differ by 1
    turned = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert relation(teacher, teacher @ turned).item() == pytest.approx(0, abs=1e-12)  # relations do not see a rotation


def test_negatives_are_other_people() -> None:
    who = torch.tensor([0, 0, 1, 1, 2])
    found = others(who, torch.tensor([0, 2, 4, 1, 3]), 16, torch.Generator().manual_seed(0))
    assert (who[found] != who[torch.tensor([0, 2, 4, 1, 3])][:, None]).all()
    alone = torch.zeros(3, dtype=torch.int64)
    assert others(alone, torch.arange(3), 4, torch.Generator().manual_seed(0)).shape == (3, 4)


def test_distillation_ends_over_the_last_twentieth() -> None:
    assert [remaining(step, 100) for step in (0, 95, 97, 99)] == pytest.approx([1, 1, 0.6, 0.2])


def test_without_a_teacher_the_classes_are_all_there_is() -> None:
    torch.manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    no_pairs = CrrcdSettings(knowledge=0, weight=0)
    rows = torch.nn.functional.normalize(torch.randn(6, 8), dim=1)
    seen_ = Seen(rows, rows, torch.arange(6) % 3, 1.0, torch.Generator().manual_seed(0))
    found = Crrcd(no_pairs, 8, centres)(seen_)
    assert set(found) == {"loss", "classes"}
    assert found["loss"].item() == found["classes"].item()


class TestAdaptation:
    @pytest.fixture(scope="class")
    def network(self):
        network = build(QUICK, 0)
        for number, module in enumerate(network.modules()):
            if isinstance(module, nn.BatchNorm2d):  # statistics of some training
                module.running_mean.normal_(0, 0.3, generator=torch.Generator().manual_seed(number))
                module.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(number))
        return network.eval()

    def test_none_of_it_is_the_identity_to_the_bit(self, network, people) -> None:
        same = adapted(network, people[0], 0.0).state_dict()
        assert all(torch.equal(same[name], value) for name, value in network.state_dict().items())

    def test_all_of_it_has_the_sets_own_statistics(self, network, people) -> None:
        found = adapted(network, people[0], 1.0)
        inputs = []
        found.backbone.norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        embed(found, people[0])
        assert torch.allclose(found.backbone.norm.running_mean, inputs[0].mean((0, 2, 3)), atol=1e-4)
        assert torch.allclose(found.backbone.norm.running_var, inputs[0].var((0, 2, 3), unbiased=False), rtol=1e-3, atol=1e-4)

    def test_the_order_of_a_set_moves_rounding_alone(self, network, people) -> None:
        images = people[0]
        order = np.random.default_rng(0).permutation(len(images))
        plain = embed(adapted(network, images, 0.3), images)
        assert np.abs(embed(adapted(network, images[order], 0.3), images) - plain).max() < 1e-5
        assert np.abs(plain - embed(network, images)).max() > 1e-3

    @pytest.mark.parametrize("count", [0, 1])
    def test_sets_of_one_picture_and_of_none(self, network, people, count) -> None:
        found = embed(adapted(network, people[0][:count], 0.5), people[0][:3])
        assert np.isfinite(found).all()
        assert found.shape == (3, 32)


@pytest.mark.parametrize("name", ["crrcd", "aird", "g2d"])
def test_a_student_knows_people_that_neither_it_nor_its_teacher_has_seen(people, tmp_path, name) -> None:
    images, names = people
    folder = made((images[:40], names[:40]), tmp_path, name)
    view = "half hidden" if name == "g2d" else "8x8"
    found, _, _ = auc_of_pairs(embed(load(folder), seen(images[40:], view, 5)), names[40:])
    untrained, _, _ = auc_of_pairs(embed(build(QUICK, 1).eval(), seen(images[40:], view, 5)), names[40:])
    assert found > (untrained + 0.12 if name == "g2d" else 0.9)
    assert made((images[:40], names[:40]), tmp_path, name) == folder  # finished trainings are found again


def test_g2d_learns_its_encoder_from_other_people(people, tmp_path) -> None:
    images, names = people
    quick = QUICK.model_copy(update={"steps": 3})
    ours = Pictures(Held(images[:40]), names[:40], "ours")
    theirs = Pictures(Held(images[40:]), names[40:], "theirs")

    def fit(task):
        return fit_here(task, training_settings(quick), tmp_path)

    alone, taught = (make(G2dSettings(), quick, ours, 3, fit, others=others) for others in (None, theirs))
    first, second = (load(folder).state_dict() for folder in (alone, taught))
    assert any(not torch.equal(first[name], value) for name, value in second.items() if "encoder" in name)
    assert load(taught).name == "reformed"


def test_another_number_of_steps_is_another_inpainting(people, tmp_path) -> None:
    def trained(**changed) -> set[str]:
        quick = QUICK.model_copy(update={"steps": 2, **changed})
        keys = set()

        def fit(task):
            keys.add(task.key)
            return fit_here(task, training_settings(quick), tmp_path)

        make(G2dSettings(), quick, Pictures(Held(people[0][:20]), people[1][:20], "ours"), 3, fit)
        return keys

    first = trained()
    assert len(first) == 4  # the teacher, the encoder, its tuning, the reformer
    assert not first & trained(steps=3)


def test_losses_that_go_to_zero_and_up_again_a_little_are_no_divergence(people) -> None:
    task = Distilled(Held(people[0]), people[1], np.ones((60, 8), np.float32), QUICK, METHODS["crrcd"], 3, "these")
    losses = LossWatch(to_zero=task.watch == "to_zero")
    for loss in [5.0] * 20 + [0.001] * 200 + [0.1] * 100:
        losses.add(loss)
    assert not losses.diverged


def test_what_cannot_be_distilled_is_refused(people, tmp_path) -> None:
    images, names = people
    targets = np.zeros((60, 8), np.float32)
    above = CrrcdSettings(views=("clear", "32x32"))
    with refused_as("bad-size", "'32x32'", "16x16"):
        Distilled(Held(images), names, targets, QUICK, above, 3, "these")
    with refused_as("missing-weights", "reid.teacher"):
        made(people, tmp_path, "crrcd", QUICK.model_copy(update={"teacher": str(tmp_path / "nobody")}))
    with refused_as("learned-nothing", "reid.teacher"):
        Distilled(Held(images), names, targets * np.nan, QUICK, METHODS["crrcd"], 3, "these")


def test_a_teacher_may_learn_classes_first(people, tmp_path) -> None:
    quick = QUICK.model_copy(update={"steps": 2, "teacher": "classes"})
    made(people, tmp_path, "aird", quick)
    made(people, tmp_path, "crrcd", quick)
    assert len(list(tmp_path.iterdir())) == 3  # one teacher for both
    assert lineage(quick.model_copy(update={"method": (METHODS["aird"],)}), "")["methods"][0]["teacher"] == {
        "name": "trained on the same people, by cross-entropy"
    }


def test_a_teacher_may_come_from_outside(people, tmp_path) -> None:
    own = made(people, tmp_path, "supcon")
    quick = QUICK.model_copy(update={"steps": 2, "teacher": str(own)})
    assert load(made(people, tmp_path / "student", "crrcd", quick)).dim == 32
    assert len(list((tmp_path / "student").iterdir())) == 1  # no teacher was trained
