"""Semi-ViT: pairs and what counts of them, the teacher's average, the phases, layers' rates, starts, bad input."""

import json

import numpy as np
import pytest
import torch
from refusals import refused_as
from safetensors.torch import load_file, save_file

from pd.classify import views
from pd.classify.fine_tune import FineTuneTask, load_vit, stream_rows
from pd.classify.inputs import Held
from pd.classify.mae import Mae, MaeTask, patches
from pd.classify.semi_vit import Pair, SemiVitTask, coefficients, counts, partners, relative
from pd.classify.task import predict
from pd.classify.vit import build_vit, layer_of, optimiser, positions
from pd.config import SemiVitSettings, VitSettings
from pd.config.training import TrainingSettings
from pd.errors import UserError
from pd.training.loop import fit_here
from pd.training.task import Alone

TINY = VitSettings(patch=4, width=16, depth=2, heads=2)
SMALL = SemiVitSettings(network=TINY, batch=4, ratio=3, supervised=0.5, teacher_decay=0.5)
TRAINING = TrainingSettings(steps=6, learning_rate=0.01, checkpoint_every=100)


def pictures(rows, seed=0):
    """Dark and bright pictures, and which is which."""
    chance = np.random.default_rng(seed)
    who = chance.integers(0, 2, rows)
    pixels = np.clip(chance.normal(70 + 110 * who[:, None, None, None], 30, (rows, 8, 8, 1)), 0, 255)
    return pixels.astype(np.uint8), who.astype(np.int64)


def task_of(labelled=6, rows=20, steps=6, settings=SMALL, **given):
    pixels, who = pictures(rows)
    labels = np.where(np.arange(rows) < labelled, who, -1)
    return SemiVitTask(Held(pixels), labels, 2, settings, steps=steps, seed=3, **given)


def test_pairs_and_what_counts_of_them_as_by_a_second_implementation():
    chance = np.random.default_rng(1)
    confidence, said = chance.uniform(0.2, 1, 20).astype(np.float32), chance.integers(0, 4, 20)
    threshold, uniform = np.array([0.6, 0.5, 0.7, 0.3], np.float32), chance.random(20, np.float32)
    for mixup in ("probabilistic", "plain", "none"):
        partner = partners(20, 5)
        tensors = torch.tensor(confidence), torch.tensor(said)
        lam = coefficients(tensors[0], tensors[0][partner], torch.tensor(uniform), mixup)
        counted = counts(*tensors, partner, torch.tensor(threshold), mixup)
        for i in range(20):
            group = list(range(i // 5 * 5, i // 5 * 5 + 5))
            j = group[(group.index(i) + 1) % 5]
            assert partner[i] == j
            c, other = confidence[i], confidence[j]
            wanted = {"probabilistic": c / (c + other), "plain": uniform[i], "none": 1.0}[mixup]
            assert lam[i].item() == pytest.approx(wanted, rel=1e-6)
            own, its = c >= threshold[said[i]], other >= threshold[said[j]]
            assert bool(counted[i]) == bool(own or its if mixup == "probabilistic" else own)


def test_the_loss_as_by_a_second_implementation():
    task = task_of()
    module, batch = task.build(), dict(task.batch(4, 0, 1))
    with torch.no_grad():
        module.teacher.vit.head.weight.normal_(generator=torch.Generator().manual_seed(1))
        told = module.teacher(views.weak(batch["others"], batch["weak"], flip=False)).softmax(1).numpy()
    threshold = float(np.quantile(told.max(1), 0.7))
    task.threshold, task.weight = threshold, 3.0
    task.settings = SMALL.model_copy(update={"flip": False})
    found = task.loss(module, batch, 4, Alone())
    with torch.no_grad():
        strong = views.strong(batch["others"], batch["strong"], flip=False)
        total, counted = 0.0, 0
        for i in range(len(strong)):
            j = i // 3 * 3 + (i % 3 + 1) % 3
            c, other = told[i].max(), told[j].max()
            if max(c, other) < threshold:
                continue
            lam = float(c / (c + other))
            log = module.student((lam * strong[i] + (1 - lam) * strong[j])[None]).log_softmax(1)[0]
            total -= float(lam * log[told[i].argmax()] + (1 - lam) * log[told[j].argmax()])
            counted += 1
        assert 0 < counted < len(strong)
        labelled = module.student(views.strong(batch["images"], batch["numbers"], flip=False)).log_softmax(1)
        supervised = -float(labelled[range(4), batch["labels"]].mean())
    assert found["unlabelled"].item() == pytest.approx(total / len(strong), rel=1e-4)
    assert found["loss"].item() == pytest.approx(supervised + 3 * total / len(strong), rel=1e-4)


def test_the_teacher_is_an_average_in_closed_form():
    task = task_of(settings=SMALL.model_copy(update={"teacher_decay": 0.3}))
    module = task.build()
    assert isinstance(module, Pair)
    decays = [min(0.3, (1 + t) / (10 + t)) for t in range(6)]
    student, teacher = module.student.vit.head.bias, module.teacher.vit.head.bias
    with torch.no_grad():
        teacher.fill_(8.0)
        for step in range(6):
            student.fill_(float(step))
            task.after_step(module, step)
    weights = [(1 - decays[t]) * np.prod(decays[t + 1 :]) for t in range(6)]
    wanted = 8 * np.prod(decays) + sum(weight * t for t, weight in enumerate(weights))
    torch.testing.assert_close(teacher.detach(), torch.full_like(teacher, wanted))


def test_without_unlabelled_images_it_is_fine_tuning_to_the_bit(tmp_path):
    pixels, who = pictures(12)
    plain = FineTuneTask(Held(pixels), who, 2, SMALL, seed=3)
    semi = SemiVitTask(Held(pixels), who, 2, SMALL, steps=6, seed=3)
    one, two = (fit_here(task, TRAINING, tmp_path) for task in (plain, semi))
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    assert (one / "config.json").read_bytes() == (two / "config.json").read_bytes()


def test_unlabelled_images_join_after_the_first_phase_and_their_labels_are_not_read():
    task = task_of()
    assert [("others" in task.batch(step, 0, 1)) for step in range(6)] == [False] * 3 + [True] * 3
    assert task.batch(4, 0, 1)["labels"].min() >= 0
    with pytest.raises(ValueError, match="labelled and unlabelled"):
        task_of(unlabelled=np.arange(4))


@pytest.mark.parametrize("world", [2, 4])
def test_pairs_never_lie_on_two_ranks(world):
    task = task_of(rows=100)
    whole = task.batch(5, 0, 1)
    parts = [task.batch(5, rank, world) for rank in range(world)]
    for name in whole:
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name])
    each = len(parts[0]["others"])
    assert (partners(len(whole["others"]), 3) // each == torch.arange(len(whole["others"])) // each).all()


def test_thresholds_of_classes_follow_the_teachers_confidence(tmp_path):
    task = task_of(settings=SMALL.model_copy(update={"per_class": True}))
    module = task.build()
    task.loss(module, task.batch(4, 0, 1), 4, Alone())
    sureness = module.sureness
    assert ((sureness < 1) | (sureness == 1)).all()
    assert (sureness < 1).any()
    torch.testing.assert_close(relative(torch.tensor([0.4, 0.8])), torch.tensor([0.5, 1.0]))
    assert len(json.loads((fit_here(task, TRAINING, tmp_path) / "facts.json").read_text())["sureness"]) == 2


def test_it_learns_and_is_read_back(tmp_path):
    settings = SMALL.model_copy(update={"batch": 8})
    training = TRAINING.model_copy(update={"steps": 60})
    out = fit_here(task_of(8, 60, 60, settings), training, tmp_path)
    fresh, truth = pictures(100, 9)
    found = predict(load_vit(out), Held(fresh))
    assert (found.argmax(1) == truth).mean() > 0.9
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_a_loss_that_rises_when_unlabelled_images_join_is_no_divergence(tmp_path):
    settings = SMALL.model_copy(update={"weight": 1000.0})
    task, training = task_of(rows=40, steps=120, settings=settings), TRAINING.model_copy(update={"steps": 120})
    fit_here(task, training, tmp_path, ranks=Alone(torch.device("cpu")))


def test_a_stream_goes_through_all_rows_again_and_again():
    rows = np.concatenate([stream_rows(3, step, 7, 5) for step in range(14)])
    assert (np.bincount(rows) == 10).all()
    assert sorted(rows[:7]) == list(range(7))


def test_rates_fall_layer_by_layer():
    module = build_vit(TINY, (1, 8, 8), 2, 0)
    made = optimiser(module, TRAINING.model_copy(update={"weight_decay": 0.1}), 0.5)
    names = {id(value): name for name, value in module.named_parameters()}
    rate = {names[id(value)]: group for group in made.param_groups for value in group["params"]}
    assert rate.keys() == set(names.values())
    for name, group in rate.items():
        layer = 0 if "patch" in name or "pos" in name else 1 + int(name.split(".")[2]) if "blocks" in name else 3
        assert layer_of(name, 2) == layer
        assert group["lr"] == pytest.approx(0.01 * 0.5 ** (3 - layer))
        assert group["weight_decay"] == (0.1 if name.endswith(".weight") and "norm" not in name else 0)


def test_views_are_of_their_numbers_alone_and_grey_levels_stay():
    images = torch.rand(6, 3, 8, 8) * 2 - 1
    numbers = views.draw(5, 6)
    for view in (views.weak, views.strong):
        whole = view(images, numbers)
        torch.testing.assert_close(whole[2:4], view(images[2:4], numbers[2:4]))
        assert whole.shape == images.shape
        assert whole.abs().max() <= 1
    still = torch.full((1, views.NUMBERS), 0.5)
    torch.testing.assert_close(views.weak(images[:1], still), images[:1])


def test_a_masked_autoencoder_is_judged_on_what_it_does_not_see(tmp_path):
    pixels, _ = pictures(12)
    task = MaeTask(Held(pixels), SMALL, seed=3)
    module, batch = task.build(), task.batch(0, 0, 1)
    assert isinstance(module, Mae)
    order, images = batch["order"], batch["images"].clone()
    assert (order.sort(1).values == torch.arange(4)).all()
    still = torch.full_like(batch["numbers"], 0.5)
    with torch.no_grad():
        before = module(views.weak(images, still), order, 1)
        hidden = order[0, -1]
        row, column = divmod(int(hidden), 2)
        images[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = torch.rand(1, 4, 4)
        coded = [
            module.encoder.vit.patch_embed(one).gather(1, order[:, :1, None].expand(-1, -1, 16))
            for one in (batch["images"], images)
        ]
        after = module(views.weak(images, still), order, 1)
    torch.testing.assert_close(*coded)  # what is seen has not changed,
    assert before != after  # what is asked for has
    assert patches(images, 4).shape == (12, 4, 16)
    torch.testing.assert_close(patches(images, 4)[0, 1], images[0, :, :4, 4:].permute(1, 2, 0).reshape(-1))
    start = fit_here(task, TRAINING, tmp_path)
    begun = task_of(start=start).build()
    found, head = load_file(start / "model.safetensors"), task_of().build().student.vit.head.weight
    torch.testing.assert_close(begun.student.vit.blocks[0].attn.qkv.weight, found["vit.blocks.0.attn.qkv.weight"])
    torch.testing.assert_close(begun.student.vit.head.weight, head)
    assert task_of(start=start).key != task_of().key


NAMED = VitSettings(name="timm:vit_tiny_patch16_224")


def test_a_network_of_timm_starts_from_weights_on_this_machine(tmp_path):
    import timm

    given = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=7, img_size=48)
    save_file({name: value.contiguous() for name, value in given.state_dict().items()}, tmp_path / "w.safetensors")
    settings = NAMED.model_copy(update={"weights": tmp_path / "w.safetensors"})
    module = build_vit(settings, (1, 32, 32), 3, 0)  # of another side, grey, with other classes
    torch.testing.assert_close(module.vit.blocks[3].mlp.fc1.weight, given.blocks[3].mlp.fc1.weight)
    assert module(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
    torch.testing.assert_close(module(torch.zeros(1, 1, 32, 32)), module(torch.zeros(1, 3, 32, 32)))
    other = {f"x.{name}": value.contiguous() for name, value in given.state_dict().items()}
    save_file(other, tmp_path / "w.safetensors")
    with refused_as("bad-weights", "semi_vit.network.weights"):
        build_vit(settings, (1, 32, 32), 3, 0)
    with refused_as("bad-weights", "semi_vit.network.weights"):
        build_vit(settings.model_copy(update={"weights": tmp_path / "none"}), (1, 32, 32), 3, 0)


@pytest.mark.parametrize(
    ("settings", "shape", "says"),
    [
        (TINY, (1, 9, 9), "do not divide images of 9"),
        (TINY, (5,), "not at features"),
        (NAMED, (3, 40, 40), "do not divide images of 40|cannot be built"),
        (VitSettings(name="timm:no_such_thing"), (3, 32, 32), "timm has no"),
        (VitSettings(name="timm:resnet18"), (3, 32, 32), "not a plain vision transformer"),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(settings, shape, says):
    with pytest.raises(UserError, match=says):
        build_vit(settings, shape, 2, 0)


def test_positions_tell_every_patch_apart():
    found = positions(7, 18)[0]
    assert found.shape == (49, 18)
    apart = (found[:, None] - found[None]).norm(dim=2) + 10 * torch.eye(49)
    assert apart.min() > 0.1
    torch.testing.assert_close(build_vit(TINY, (1, 8, 8), 2, 0).vit.pos_embed.detach(), positions(2, 16))


@pytest.mark.parametrize("world", [2, 4])
def test_the_mean_gradient_of_ranks_is_that_of_the_global_batch(world):
    task = task_of(rows=100, settings=SMALL.model_copy(update={"threshold": 0.5}))
    module = task.build()

    def gradients(parts):
        module.zero_grad()
        for part in parts:
            (task.loss(module, part, 5, Alone())["loss"] / len(parts)).backward()
        return [value.grad.clone() for value in module.student.parameters() if value.grad is not None]

    whole = gradients([task.batch(5, 0, 1)])
    shared = gradients([task.batch(5, rank, world) for rank in range(world)])
    assert len(whole) == len(shared) == len(list(module.student.parameters()))
    for one, other in zip(whole, shared, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("side", "patch"), [(16, 4), (32, 4), (64, 4), (88, 8), (128, 8), (256, 16), (512, 32)])
def test_patches_grow_with_the_images(side, patch):
    assert VitSettings().patched(side).patch == patch
    assert VitSettings(patch=5).patched(side).patch == 5
    assert VitSettings(name="timm:vit_tiny_patch16_224").patched(side).patch is None


def test_a_patch_that_is_left_open_is_written_as_a_number(tmp_path):
    settings = SMALL.model_copy(update={"network": TINY.model_copy(update={"patch": None})})
    pixels, _ = pictures(12)
    start = fit_here(MaeTask(Held(pixels), settings, seed=3), TRAINING.model_copy(update={"steps": 1}), tmp_path)
    out = fit_here(task_of(settings=settings, start=start), TRAINING, tmp_path)
    for folder in (start, out):
        assert json.loads((folder / "config.json").read_text())["vit"]["patch"] == 4
    assert load_vit(out).vit.patch_embed.patch_size[0] == 4


def test_pretraining_of_another_length_is_another_one():
    pixels, _ = pictures(12)
    keys = {MaeTask(Held(pixels), SMALL.model_copy(update={"mae_steps": steps}), seed=3).key for steps in (10, 20)}
    assert len(keys) == 2


def test_patches_of_one_grey_pixel_have_a_loss():
    settings = SMALL.model_copy(update={"network": TINY.model_copy(update={"patch": 1})})
    task = MaeTask(Held(pictures(4)[0]), settings, seed=3)
    assert torch.isfinite(task.loss(task.build(), task.batch(0, 0, 1), 0, Alone())["loss"])


def test_what_is_left_empty_follows_from_where_the_network_starts(tmp_path):
    empty = SemiVitSettings(network=TINY)
    said = SemiVitSettings(network=TINY, weight=2.0, threshold=0.7, supervised=0.3)
    start = fit_here(MaeTask(Held(pictures(20)[0]), empty, seed=0), TrainingSettings(steps=1), tmp_path)

    def of(settings, start):
        task = task_of(steps=100, settings=settings, start=start)
        return task.weight, task.threshold, task.first

    assert of(empty, None) == (1.0, 0.8, 10)
    assert of(empty, start) == (5.0, 0.6, 40)
    assert of(said, start) == of(said, None) == (2.0, 0.7, 30)
