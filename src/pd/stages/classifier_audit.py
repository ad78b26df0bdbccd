"""The classifier's own audit: what it gets right of hold-out people, and whether it tells whom it learned from. Private."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, share
from pd.audit.membership import likelihood_ratio, membership
from pd.classifier.examples import Examples, examples, word
from pd.classifier.make import unprotected
from pd.classify.inputs import inputs_of
from pd.classify.task import ClassifierTask, load_classifier, predict
from pd.dataset.parquet_images import Images, rows_of
from pd.dataset.private import PrivateDataset
from pd.dataset.real import real_images
from pd.dataset.shared import shared_labels
from pd.report.classifier_card import Compared
from pd.seeds import derive
from pd.stages.classifier_steps import Made, many, values_of
from pd.store.context import Context

_FEWEST = 10  # hold-out images of a subgroup from which a figure is told; ours


@dataclass(frozen=True)
class Usefulness:
    """What a classifier gets right of hold-out people.

    Attributes:
        accuracy: over all of them.
        by: over those who carry a label, and over each class.
    """

    accuracy: Estimate
    by: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """For `private/classifier.json`."""
        return {"accuracy": asdict(self.accuracy), "by": {name: asdict(one) for name, one in self.by.items()}}

    def compared(self, other: "Usefulness | None") -> Compared | None:
        """Beside DP-SGD's."""
        if other is None or not self.accuracy.n:
            return None
        ours, theirs = self.accuracy, other.accuracy
        return Compared((ours.value, ours.low, ours.high), (theirs.value, theirs.low, theirs.high))


def usefulness(context: Context, folder: Path, classes: tuple[str, ...]) -> Usefulness:
    """Accuracy on hold-out people with an interval over people, and of subgroups; images of other classes are left out."""
    real = real_images(context.run, context.settings).holdout()
    images, truth, rows = labelled(real.images, real, context, classes)
    if not len(truth):
        return Usefulness(Estimate(0.0, 0.0, 1.0, 0), {})
    hits = predict(load_classifier(folder), inputs_of(images)).argmax(axis=1) == truth
    who = [real.identities[row] for row in rows.tolist()]
    k = context.settings.generate.prompt_k
    groups = {name: real.labels[name][rows] > 0 for name in shared_labels(real.labels, real.identities, k)}
    groups |= {f"class {name}": truth == number for number, name in enumerate(classes)}
    by = {
        name: share(hits[mask], [who[place] for place in np.flatnonzero(mask).tolist()])
        for name, mask in groups.items()
        if int(mask.sum()) >= _FEWEST
    }
    return Usefulness(share(hits, who), by)


def labelled(
    images: Images, real: PrivateDataset, context: Context, classes: tuple[str, ...]
) -> tuple[Images, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Images of these classes, their numbers, and which rows they are."""
    how = context.settings.classifier
    assert how is not None
    number = {name: place for place, name in enumerate(classes)}
    of = np.array([number.get(word(value), -1) for value in values_of(real, how.label)], np.int64)
    rows = np.flatnonzero(of >= 0).astype(np.int64)
    return rows_of(images, rows), of[rows], rows


def audited(context: Context, found: Made, classes: tuple[str, ...]) -> dict[str, Any]:
    """Likelihood-ratio membership inference on the classifier and on one that nothing protects.

    The shadows are plain classifiers of half of the people each: online for the unprotected one, which learned as they did,
    offline for the released one.
    """
    order, how = found.order, found.order.settings
    everybody, member = _everybody(context, classes)
    shadows = _shadows(order.seed, everybody, how.shadows)
    tasks = []
    for number, rows in enumerate(shadows):
        inputs, targets = everybody.take(rows)
        seed = derive(order.seed, "shadow", number)
        digest = f"shadow {number} {order.digest} {how.student.model_dump_json()}"
        tasks.append(ClassifierTask(inputs, targets, seed=seed, batch=how.batch, width=how.width, digest=digest))
    with context.reporter.task("shadows") as progress:
        folders = many(tasks, how.student, order.work / "shadows", progress)
    inside = np.zeros((len(shadows), len(everybody.labels)), bool)
    for number, rows in enumerate(shadows):
        inside[number, rows] = True
    losses = np.stack([_losses(folder, everybody) for folder in folders])
    rows = np.flatnonzero(member).astype(np.int64)
    plain = unprotected(order, everybody, context.reporter.task, rows, "members for the audit")
    names = np.array([f"p{person}" for person in everybody.owner])
    told: dict[str, Any] = {"shadows": len(shadows)}
    for name, folder, variant in (("released", found.folder, "offline"), ("unprotected", plain, "online")):
        scores = likelihood_ratio(_losses(folder, everybody), losses, inside, variant)  # type: ignore[arg-type]
        measured = membership(
            scores[member], scores[~member], names[member].tolist(), names[~member].tolist(), bootstrap=1000, seed=order.seed
        )
        told[name] = measured.model_dump(mode="json")
    return told


def _everybody(context: Context, classes: tuple[str, ...]) -> tuple[Examples, npt.NDArray[np.bool_]]:
    """Members and hold-out people of these classes, and whose images a member's are, (N,) bool."""
    how = context.settings.classifier
    assert how is not None
    real = real_images(context.run, context.settings)
    images, of, rows = labelled(real.images, real, context, classes)
    who = [real.identities[row] for row in rows.tolist()]
    held = examples(images, [classes[place] for place in of.tolist()], who, how, 1, context.seed("classifier"))
    split = {name: part == "member" for name, part in zip(real.identities, real.splits, strict=True)}
    named = sorted(set(who))  # as `bounded` numbers people
    return held, np.array([split[named[person]] for person in held.owner.tolist()], bool)


def _shadows(seed: int, everybody: Examples, count: int) -> list[npt.NDArray[np.int64]]:
    """Rows of half of all people for each shadow, in pairs: who is not in the one is in the other."""
    found = []
    for pair in range(count // 2):
        order = np.random.default_rng(derive(seed, "shadow pair", pair)).permutation(everybody.people)
        first = np.isin(everybody.owner, order[: everybody.people // 2])
        found += [np.flatnonzero(first).astype(np.int64), np.flatnonzero(~first).astype(np.int64)]
    return found


def _losses(folder: Path, held: Examples) -> npt.NDArray[np.float64]:
    """(N,) minus the logit of the true class's probability, which is near normal (Carlini et al., arXiv 2112.03570)."""
    sure = predict(load_classifier(folder), inputs_of(held.images))[np.arange(len(held.labels)), held.labels].astype(np.float64)
    sure = np.clip(sure, 1e-7, 1 - 1e-7)
    return np.log(1 - sure) - np.log(sure)
