"""From members to a classifier, in tiny: every way; a killed one goes on, and no vote is spent twice."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusals import refused_as

from pd.classifier import ballot as voting
from pd.classifier.ballot import Ballot
from pd.classifier.canaries import twin
from pd.classifier.examples import Examples
from pd.classifier.make import Order, make
from pd.classifier.onnx_file import onnx_bytes
from pd.classifier.plan import make_plan
from pd.classify.inputs import Held
from pd.classify.task import load_classifier, predict
from pd.config import ClassifierSettings
from pd.dp.noise import NoiseSource
from pd.progress import Progress, Reporter, silent
from pd.stages.classifier_steps import made as made_or_gone_on
from pd.training.loop import fit_here

PEOPLE = 60
SHORT = {"steps": 2, "checkpoint_every": 1}
WAYS: dict[str, dict[str, object]] = {
    "noise": {"method": "pate", "queries_from": "noise"},
    "public": {"method": "pate", "queries_from": "public", "votes": "confident", "threshold": 0.1},
    "generated": {"method": "generated"},
    "vae": {"method": "vae", "against": "dp_sgd"},
    "tangent_normal": {"method": "tangent_normal"},
    "paper": {"method": "generated", "accounting": "paper"},
    "dp_sgd": {"method": "dp_sgd"},
}


def settings(way: str) -> ClassifierSettings:
    return ClassifierSettings.model_validate(
        {
            "label": "x", "delta": 1e-3, "teachers": 3, "queries": 12, "rounds": 2, "width": 8, "batch": 4, "latent": 4,
            "teacher": SHORT, "student": SHORT, "generator": SHORT, "sgd_steps": 2, "sgd_batch": 20, **WAYS[way],
        }
    )  # fmt: skip


def members() -> Examples:
    """Two classes that differ in where they are bright; an image a person."""
    rng = np.random.default_rng(0)
    labels = np.arange(PEOPLE) % 2
    images = rng.integers(0, 60, (PEOPLE, 8, 8, 1)).astype(np.uint8)
    images[labels == 1, :4] += 150
    return Examples(images, labels, np.arange(PEOPLE + 1), ("dark", "bright"))


@contextmanager
def bar(name: str) -> Iterator[Progress]:
    yield silent


def order(folder: Path, how: ClassifierSettings) -> Order:
    def many(tasks, how, work, progress):  # type: ignore[no-untyped-def]
        return [fit_here(task, how, work) for task in tasks]

    public = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    return Order(how, make_plan(how, PEOPLE), folder, 5, "members", fit_here, many, public)


def made(folder: Path, way: str) -> dict[str, bytes]:
    out = make(order(folder, settings(way)), members(), NoiseSource.of_seed(1), bar)
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "facts.json"}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_a_function_of_the_seed_also_after_a_kill(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(tmp_path / "whole", way)
    asked: list[int] = []
    count = voting.votes_of

    def counted(teachers, images, classes, progress=silent):  # type: ignore[no-untyped-def]
        asked.append(len(images))
        return count(teachers, images, classes, progress)

    monkeypatch.setattr(voting, "votes_of", counted)
    stop = StudentStops(monkeypatch)
    if way != "dp_sgd":
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "killed", way)
        stop.over()
    assert made(tmp_path / "killed", way) == whole
    assert sum(asked) == (0 if way == "dp_sgd" else 12)  # every vote once, though the making was killed


class StudentStops:
    """The first student's second step is never taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from pd.classifier.student import StudentTask

        self._monkeypatch, self._batch, self._task = monkeypatch, StudentTask.batch, StudentTask

        def batch(task, step, rank, world):  # type: ignore[no-untyped-def]
            if step == 1:
                raise KeyboardInterrupt
            return self._batch(task, step, rank, world)

        monkeypatch.setattr(StudentTask, "batch", batch)

    def over(self) -> None:
        self._monkeypatch.setattr(self._task, "batch", self._batch)


def test_dp_sgd_learns_where_noise_is_small(tmp_path: Path) -> None:
    how = settings("dp_sgd").model_copy(update={"epsilon": 200.0, "sgd_steps": 40, "sgd_batch": 60, "sgd_rate": 0.01})
    out = make(order(tmp_path, how), members(), NoiseSource.of_seed(1), bar)
    said = predict(load_classifier(out), Held(members().images[:])).argmax(1)
    assert (said == members().labels).mean() > 0.9


def test_answers_are_given_once_and_never_more_than_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = settings("noise")
    plan = make_plan(how, PEOPLE)
    monkeypatch.setattr(
        voting, "votes_of", lambda teachers, images, classes, progress=silent: np.full((len(images), 2), (9, 0))
    )
    ballot = Ballot((), plan, 0.0, 2, NoiseSource.of_seed(1), tmp_path)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)
    first = ballot.ask(0, pictures, 8)
    monkeypatch.setattr(voting, "votes_of", None)  # it is not asked again
    assert np.array_equal(ballot.ask(0, pictures, 8), first)
    assert ballot.spent() == (8, 8)
    with refused_as("other-inputs"):
        ballot.ask(0, pictures[::-1].copy(), 8)
    with refused_as("over-budget", "16", "12"):
        ballot.ask(1, pictures, 8)


def test_a_round_that_answers_nothing_does_not_end_the_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Ballot.ask

    def asked(ballot: Ballot, number: int, images, most, progress=silent):  # type: ignore[no-untyped-def]
        return np.full(len(images), -1) if number == 0 else ask(ballot, number, images, most, progress)

    monkeypatch.setattr(Ballot, "ask", asked)
    how = settings("generated").model_copy(update={"rounds": 2})
    assert (make(order(tmp_path, how), members(), NoiseSource.of_seed(1), bar) / "model.safetensors").exists()


def test_a_begun_making_does_not_go_on_under_another_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how, held = settings("noise"), members()
    other = replace(held, labels=np.arange(PEOPLE) // 2 % 2)

    def go_on(held: Examples, seed: int = 5, pictures: str = "pictures", **more: object) -> Path:
        plan, work = make_plan(how, PEOPLE), tmp_path / "work"
        return made_or_gone_on(how.model_copy(update=more), plan, held, None, work, seed, pictures, Reporter()).folder

    stop = StudentStops(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        go_on(held)
    stop.over()
    for begin in (
        lambda: go_on(other),
        lambda: go_on(held, seed=6),
        lambda: go_on(held, pictures="others"),
        lambda: go_on(held, width=16),
    ):
        with refused_as("other-inputs") as refused:
            begin()
        assert "\n" not in str(refused.value)
    assert go_on(held, shadows=2, onnx=False).is_dir()


def test_private_weights_are_not_those_of_other_settings(tmp_path: Path) -> None:
    how = settings("dp_sgd")
    made_of: list[Path] = []
    changes: list[dict[str, object]] = [{}, {"width": 16}, {"sgd_clip": 0.5}, {"sgd_rate": 0.01}, {"sgd_ema": 0.5}]
    for change in changes:
        one = order(tmp_path, how.model_copy(update=change))
        made_of.append(make(one, members(), NoiseSource.of_seed(1), bar))
    assert len(set(made_of)) == 5
    assert [json.loads((folder / "config.json").read_text(encoding="utf-8"))["width"] for folder in made_of[:2]] == [8, 16]


def test_a_twin_gives_a_bound_with_noise_that_is_secret(tmp_path: Path) -> None:
    how = settings("noise").model_copy(update={"canaries": 20})
    assert 0 <= twin(order(tmp_path, how), members(), bar).epsilon <= 10
    assert json.loads((tmp_path / "twin-20" / "key.json").read_text(encoding="utf-8"))["secret"] is True


def test_onnx_says_what_torch_says(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    out = make(order(tmp_path, settings("dp_sgd")), members(), NoiseSource.of_seed(1), bar)
    module = load_classifier(out)
    written = onnx_bytes(module, (1, 8, 8))
    images = np.random.default_rng(0).uniform(-1, 1, (5, 1, 8, 8)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(written).run(None, {"images": images})
    import torch

    np.testing.assert_allclose(logits, module(torch.from_numpy(images)).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert onnx_bytes(module, (1, 8, 8)) == written
