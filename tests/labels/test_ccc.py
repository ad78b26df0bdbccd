"""CCC: its bi-level derivative by finite differences; votes to labels by networks; resumption."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from crowds import crowd
from safetensors.torch import load_file
from torch.func import functional_call

from pd.classify.inputs import Held
from pd.config.labels import LabelsSettings
from pd.config.training import TrainingSettings
from pd.labels import ccc
from pd.labels.ccc import CccTask, correction, distilled, grouped, of_network
from pd.labels.crowd_layer import CrowdLayerTask, VotesByImage, votes_loss
from pd.labels.fit import label
from pd.labels.votes import Votes
from pd.training.loop import fit_here
from pd.training.task import Alone


@pytest.fixture(scope="module")
def labelled():
    """Inputs that tell the truth with some noise, and votes of a poor crowd."""
    votes, truth, _ = crowd(images=600, each=2, seed=3)
    values = np.random.default_rng(0).normal(size=(600, 6)) + 2 * np.eye(3, 6)[truth]
    return Held(values.astype(np.float32)), votes, truth


def test_the_correction_is_the_derivative_of_the_meta_loss(labelled):
    inputs, votes, _ = labelled
    task = CccTask(inputs, votes, seed=1, warmup=0, batch=32, width=8)
    module = task.build().double()
    crowd_ = module.networks[0]
    batch = {k: v.double() if v.is_floating_point() else v for k, v in of_network(task.batch(0, 0, 1), 0).items()}
    meta_inputs, meta_class = batch["inputs"][:10], torch.arange(10) % 3
    group = torch.arange(len(votes.annotators)) % 2
    found = correction(crowd_, batch, group, 2, meta_inputs, meta_class, Alone())

    def meta_loss(offset):
        network = crowd_.classifier
        weights = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
        loss = votes_loss(
            functional_call(network, weights, (batch["inputs"],)), crowd_.matrices.detach() + offset[group], batch
        )
        slopes = torch.autograd.grad(loss, list(weights.values()))
        ahead = {n: w - ccc.VIRTUAL_RATE * g for (n, w), g in zip(weights.items(), slopes, strict=True)}
        return F.cross_entropy(functional_call(network, ahead, (meta_inputs,)), meta_class).item()

    for place in [(0, 0, 0), (0, 1, 2), (1, 2, 1)]:
        nudge = torch.zeros(2, 3, 3, dtype=torch.float64)
        nudge[place] = 1e-5
        slope = (meta_loss(nudge) - meta_loss(-nudge)) / 2e-5
        assert found[place].item() == pytest.approx(-ccc.CORRECTION_RATE * slope, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("kind", ["crowd_layer", "ccc"])
def test_networks_label_better_than_the_votes_they_learned_from(labelled, tmp_path, kind):
    inputs, votes, truth = labelled
    task = (
        CrowdLayerTask(inputs, votes, seed=1, batch=60)
        if kind == "crowd_layer"
        else CccTask(inputs, votes, seed=1, warmup=40, batch=60)
    )
    out = fit_here(task, TrainingSettings(steps=100, learning_rate=3e-3), tmp_path)
    held = load_file(out / "labels.safetensors")
    accuracy = (held["probabilities"].numpy().argmax(1) == truth).mean()
    share = (votes.label == truth[votes.image]).mean()
    assert accuracy > share + 0.1
    torch.testing.assert_close(held["confusions"].sum(2), torch.ones(12, 3))


def test_a_killed_training_resumes_to_the_same_bytes(labelled, tmp_path):
    inputs, votes, _ = labelled
    settings = TrainingSettings(steps=40, checkpoint_every=5)

    class Killed(CccTask):
        def after_step(self, module, step):
            super().after_step(module, step)
            if step == 32:
                raise KeyboardInterrupt

    whole = fit_here(CccTask(inputs, votes, seed=1, warmup=10, batch=60, width=16), settings, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit_here(Killed(inputs, votes, seed=1, warmup=10, batch=60, width=16), settings, tmp_path / "b")
    again = fit_here(CccTask(inputs, votes, seed=1, warmup=10, batch=60, width=16), settings, tmp_path / "b")
    assert (whole / "labels.safetensors").read_bytes() == (again / "labels.safetensors").read_bytes()


def test_the_warm_up_is_at_most_half_of_the_steps_and_what_follows_has_its_meta_sets(labelled, tmp_path):
    inputs, votes, _ = labelled
    task = CccTask(inputs, votes, seed=1, warmup=300, steps=10, batch=60, width=8)
    assert task.warmup == 5
    assert task.epoch not in (1, 5)
    fit_here(task, TrainingSettings(steps=6), tmp_path)
    assert task.meta_image.any()
    assert task.key != CccTask(inputs, votes, seed=1, warmup=300, batch=60, width=8).key


def test_alike_annotators_are_one_group():
    _, _, matrices = crowd(skills=[0.9, 0.88, 0.4, 0.42])
    found = grouped(matrices.astype(np.float32), 2, 0)
    assert found[0] == found[1] != found[2] == found[3]


def test_a_class_without_images_is_left_out_of_the_meta_set():
    votes, _, matrices = crowd(images=40)
    probabilities = np.tile([0.6, 0.4, 0.0], (40, 1)).astype(np.float32)
    rows, classes = distilled(probabilities, VotesByImage(votes), matrices.astype(np.float32))
    assert len(rows) == 3 * ccc.META_PER_CLASS
    assert set(classes.tolist()) == {0}


def test_one_image_that_everybody_votes_on_takes_no_more_memory_than_its_votes(labelled):
    inputs, votes, _ = labelled
    rows = 50_000
    gold = np.zeros(rows, np.int64)
    many = Votes(
        image=np.concatenate([gold, np.arange(rows)]),
        annotator=np.concatenate([np.arange(rows), np.arange(rows)]),
        label=np.concatenate([gold, np.arange(rows) % 3]),
        images=range(rows),
        annotators=range(rows),
        classes=votes.classes,
    )
    tracemalloc.start()
    by_image = VotesByImage(many)
    distilled(np.full((rows, 3), 1 / 3, np.float32), by_image, np.full((rows, 3, 3), 1 / 3, np.float32))
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()
    share = VotesByImage(votes).share(inputs, 0, 0, 30, 1, 2)
    rows = share["annotator"].shape[0]
    assert (rows, share["each"].item()) == (15, 30)  # two votes on each of 30 images, by two ranks


def test_the_images_of_least_loss_are_chosen():
    votes, _, matrices = crowd(images=300, each=3)
    matrices = matrices.astype(np.float32)
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], 300).astype(np.float32)
    rows, classes = distilled(probabilities, VotesByImage(votes), matrices)
    losses = np.array(
        [
            np.mean([-np.log(probabilities[i] @ matrices[a, :, c]) for a, c in zip(annotators, labels, strict=True)])
            for i in range(300)
            for annotators, labels in [(votes.annotator[votes.image == i], votes.label[votes.image == i])]
        ]
    )
    predicted = probabilities.argmax(1)
    for c in range(3):
        there = np.flatnonzero(predicted == c)
        assert set(rows[classes == c]) == set(there[np.argsort(losses[there])[: ccc.META_PER_CLASS]])


def test_classes_without_a_sample_are_told(labelled, tmp_path):
    inputs, votes, _ = labelled
    more = replace(votes, classes=[*votes.classes, "nobody's"])
    training = {"steps": 60, "learning_rate": 0.01}
    settings = LabelsSettings(votes="v.csv", method="ccc", width=8, batch=60, warmup=5, training=training)
    found = label(more, inputs, settings, tmp_path, seed=1)
    assert any("1 of 4 classes have no image that a network predicts" in line for line in found.warnings)
    assert not any("no image that" in line for line in label(votes, inputs, settings, tmp_path, seed=1).warnings)
