"""From members to a classifier: teachers, queries, noisy answers, student. Its order is the method's."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pd.classifier.ballot import Answers, Ballot
from pd.classifier.examples import Examples
from pd.classifier.generated import GeneratorTask, load_generator, sample
from pd.classifier.pate import noise_pictures, public_pictures, teacher_tasks
from pd.classifier.plan import Plan
from pd.classifier.private_sgd import PrivateClassifier, sgd_seed, training
from pd.classifier.student import StudentTask
from pd.classifier.vae import VaeTask
from pd.classify.inputs import Held
from pd.classify.task import ClassifierTask, digest_of_array, load_classifier, predict
from pd.config import digest_of
from pd.config.classifier import ClassifierSettings
from pd.config.training import TrainingSettings
from pd.dataset.images import Pixels
from pd.dp.noise import NoiseSource
from pd.errors import UserError
from pd.formal.private_training import Fit
from pd.progress import Progress
from pd.seeds import derive

FitMany = Callable[[Sequence[ClassifierTask], TrainingSettings, Path, Progress], list[Path]]
"""Trains many tasks, side by side or one after another."""

Bar = Callable[[str], AbstractContextManager[Progress]]
"""A named progress bar."""


@dataclass(frozen=True)
class Order:
    """What a classifier is made from.

    Attributes:
        settings: of the section `classifier`.
        plan: what may be done with private data; it must be in the ledger.
        work: checkpoints, teachers and votes, private.
        seed: of everything that is no privacy noise.
        digest: of the members' content.
        fit: the trainer of one network.
        fit_many: of teachers.
        public: public pictures; None: there are none.
    """

    settings: ClassifierSettings
    plan: Plan
    work: Path
    seed: int
    digest: str
    fit: Fit
    fit_many: FitMany
    public: Pixels | None = None

    @property
    def votes(self) -> Path:
        """Folder of the answers."""
        return self.work / "votes"


def make(order: Order, held: Examples, source: NoiseSource, bar: Bar) -> Path:
    """The classifier's folder, as `save_classifier` writes it.

    Raises:
        UserError: no query was answered, or a training diverged.
    """
    settings = order.settings
    if settings.method == "dp_sgd":
        return private_classifier(order, held, source, bar)
    ballot = _ballot(order, held, source, bar)
    if settings.method == "pate":
        return _pate(order, held, ballot, bar)
    judge: Path | None = None
    if settings.accounting == "paper":
        judge = unprotected(order, held, bar)
    elif settings.against == "dp_sgd":
        judge = private_classifier(order, held, source, bar)
    return _generated(order, held, ballot, judge, bar)


def private_classifier(order: Order, held: Examples, source: NoiseSource, bar: Bar) -> Path:
    """By DP-SGD, as the plan says."""
    how = order.settings
    made_with = [how.width, how.sgd_clip, how.sgd_rate, how.sgd_ema, order.plan.ledger.to_json()]
    key = digest_of(["private", order.digest, order.seed, *made_with, source.uniform(1, "name")[0].hex()])
    task = PrivateClassifier(order.settings, held, order.plan, source, sgd_seed(order.seed), key)
    with bar("private steps") as progress:  # told of steps; never of losses
        steps = training(order.settings, order.plan)
        return order.fit(task, steps, order.work, lambda done, total, info: progress(done, total, {}))


def unprotected(order: Order, held: Examples, bar: Bar, rows: np.ndarray | None = None, name: str = "all") -> Path:
    """A classifier of all private data, or of some rows, that nothing protects. Never released."""
    rows = np.arange(len(held.labels)) if rows is None else rows
    inputs, targets = held.take(rows.astype(np.int64))
    digest = f"unprotected {order.digest} {name} {order.settings.student.model_dump_json()}"
    seed, width = derive(order.seed, "unprotected", name), order.settings.width
    task = ClassifierTask(inputs, targets, seed=seed, batch=order.settings.batch, width=width, digest=digest)
    with bar("unprotected classifier") as progress:
        return order.fit(task, order.settings.student, order.work, lambda done, total, info: progress(done, total, {}))


def _ballot(order: Order, held: Examples, source: NoiseSource, bar: Bar) -> Ballot:
    tasks = teacher_tasks(held, order.settings, order.seed, order.digest)
    with bar("teachers") as progress:
        folders = order.fit_many(tasks, order.settings.teacher, order.work / "teachers", progress)
    threshold = order.settings.threshold * order.settings.teachers
    return Ballot(folders, order.plan, threshold, len(held.classes), source, order.votes)


def _pate(order: Order, held: Examples, ballot: Ballot, bar: Bar) -> Path:
    settings = order.settings
    if settings.queries_from == "noise":
        pictures = noise_pictures(settings.queries, held.images.shape[1:], order.seed)
    else:
        if order.public is None:
            raise UserError(
                "public queries, and no section `public`",
                code="bad-options",
                where="classifier.queries_from",
                fix="add one, or set noise",
            )
        pictures = public_pictures(order.public, settings.queries, order.seed)
    answers = _asked(order, ballot, 0, 1, pictures, None, bar)
    return _student(order, held, pictures, answers, None, None, "student", bar)


def _generated(order: Order, held: Examples, ballot: Ballot, judge: Path | None, bar: Bar) -> Path:
    """Generator, queries and student take turns; with a judge that has been paid for, or never will be, there is one turn."""
    settings, shape, seed = order.settings, _shape(held), order.seed
    rounds = 1 if judge is not None else settings.rounds
    plain = replace(order, settings=settings.model_copy(update={"method": "generated"}))
    pictures: list[Pixels] = []
    answers: list[Answers] = []
    student, generator = judge, Path()
    for number in range(rounds):
        if number and (np.concatenate(answers) >= 0).any():  # a round may answer nothing
            name = f"student {number} of {rounds}"
            student = _student(plain, held, np.concatenate(pictures), np.concatenate(answers), None, None, name, bar)
        key, drawn = _key(order, "generator", str(number), _named(student)), derive(seed, "generator", number)
        task = GeneratorTask(settings, shape, len(held.classes), student, drawn, key)
        with bar(f"generator {number + 1} of {rounds}") as progress:
            generator = order.fit(task, settings.generator, order.work, progress)
        queries = settings.queries * (number + 1) // rounds - settings.queries * number // rounds
        made = load_generator(generator, settings, shape)
        pictures.append(sample(made, queries, derive(seed, "round", number)))
        answers.append(_asked(order, ballot, number, rounds, pictures[-1], student if judge is None else None, bar))
    vae: Path | None = None
    if settings.method in ("vae", "tangent_normal"):
        of = VaeTask(settings, shape, generator, derive(seed, "vae"), _key(order, "vae", _named(generator)))
        with bar("vae") as progress:
            vae = order.fit(of, settings.generator, order.work, progress)
    return _student(order, held, np.concatenate(pictures), np.concatenate(answers), generator, vae, "student", bar)


def _asked(order: Order, ballot: Ballot, number: int, rounds: int, pictures: Pixels, student: Path | None, bar: Bar) -> Answers:
    """Noisy answers to a round's pictures; shown are votes spent, and how often the student would have said the same."""
    most = order.plan.answers * (number + 1) // rounds - order.plan.answers * number // rounds
    if order.plan.check is None:
        most = len(pictures)
    with bar("votes") as progress:
        answers = ballot.ask(number, pictures, most, progress)
        known = answers >= 0
        shown: dict[str, object] = {"votes": f"{ballot.spent()[0]}/{order.plan.queries}"}
        if student is not None and known.any():
            said = predict(load_classifier(student), Held(pictures)).argmax(axis=1)
            shown["agreement"] = round(float((said == answers)[known].mean()), 3)
        progress(len(ballot.teachers), len(ballot.teachers), shown)
    return answers


def _student(
    order: Order,
    held: Examples,
    pictures: Pixels,
    answers: Answers,
    generator: Path | None,
    vae: Path | None,
    name: str,
    bar: Bar,
) -> Path:
    known = np.flatnonzero(answers >= 0)
    if not len(known):
        raise UserError(
            "not one query was answered: most teachers never agreed",
            code="nothing-kept",
            where="classifier.threshold",
            fix="lower it, or set votes: gnmax",
        )
    targets = np.eye(len(held.classes), dtype=np.float32)[answers[known]]
    key = _key(order, digest_of_array(pictures), digest_of_array(answers), _named(generator), _named(vae), name)
    task = StudentTask(order.settings, Held(pictures[known]), targets, generator, vae, derive(order.seed, name), key)
    with bar(name) as progress:
        return order.fit(task, order.settings.student, order.work, progress)


def _shape(held: Examples) -> tuple[int, ...]:
    _, height, width, channels = held.images.shape
    return channels, height, width


def _named(result: Path | None) -> str:
    """The key of the training that a result is of: it covers all that the training was made from."""
    return "nothing" if result is None else result.parent.name


def _key(order: Order, *names: str) -> str:
    return digest_of([order.digest, order.seed, *names])
