"""Few labels: columns filled by Semi-ViT, and how right that is; what a release is worth to who has few labels. Private."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, share
from pd.audit.few_labels import few_labels
from pd.audit.figures import NotMeasured
from pd.audit.results import FewLabels
from pd.audit.subjects import Subjects
from pd.classify.inputs import inputs_of, shape
from pd.config import Settings
from pd.config.labels import LabelsSettings
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.engine.fit import fit
from pd.errors import UserError
from pd.labels.result import Floats
from pd.labels.semi_vit import Classifier, Index, Known, Value, check_network, learn
from pd.progress import Progress, Reporter

SHOWN = 12  # pictures of a gallery
WHERE = "labels.columns"
UNSURE = "unsure.json"


@dataclass(frozen=True)
class Measured:
    """How right guesses are on labelled images that were not learned from.

    Attributes:
        tested: how many images.
        people: of how many people; None: each is another's, as far as is known.
        precision: of the labels that are sure enough to be given; None: there is none.
        answered: share of the images that get one.
        accuracy: of all guesses.
    """

    tested: int
    people: int | None = None
    precision: Estimate | None = None
    answered: Estimate | None = None
    accuracy: Estimate | None = None


@dataclass(frozen=True)
class Guess:
    """A label that was guessed.

    Attributes:
        row: of the image.
        label: name of the column.
        before: what it is, where that is known.
        after: the guess.
        probability: of the guess.
        open: it is not sure enough to be given.
        count: how often the same mistake was made.
    """

    row: int
    label: str
    before: Value
    after: Value
    probability: float
    open: bool = False
    count: int = 0


@dataclass(frozen=True, eq=False)
class Filled:
    """A column without gaps, but those that were left open.

    Attributes:
        values: N labels; None where open.
        probabilities: (N,) float64 of the most probable class; 1 where it was known.
        labelled, filled, open: known before; gaps that got a label; gaps left open.
        classes: how many there are.
        measured: how right it is.
        unsure: the least sure guesses.
        confused: mistakes on images that were not learned from, the most frequent first.
    """

    values: list[Value]
    probabilities: Floats
    labelled: int
    filled: int
    open: int
    classes: int
    measured: Measured
    unsure: list[Guess]
    confused: list[Guess]

    def counts(self) -> dict[str, int]:
        """`labelled`, `filled`, `open` and `classes`."""
        return {"labelled": self.labelled, "filled": self.filled, "open": self.open, "classes": self.classes}


def check_column(real: PrivateDataset, name: str, settings: LabelsSettings) -> Known:
    """What is known of a column of a run that can be filled.

    Raises:
        UserError: no such column, none of its labels is missing, too few to learn from, or a network that cannot be built.
    """
    known = Known.of(name, _given(real, name))
    if (known.labels >= 0).all():
        raise UserError(f"column '{name}' has no gap", code="bad-column", where=WHERE, fix="leave it out: all of it is known")
    known.only(np.array(real.splits) == "member").check(f"{WHERE}, members")
    check_network(settings, shape(inputs_of(real.images)), len(known.classes))
    return known


def fill_column(
    real: PrivateDataset, name: str, settings: LabelsSettings, work: Path, *, seed: int, digest: str, progress: Progress
) -> Filled:
    """Fill a column of a run: members' gaps by members alone, those of hold-out people by all.

    How right the members' classifier is, is measured on the labelled hold-out people, whom it has not seen.
    """
    known = check_column(real, name, settings)
    member = np.array(real.splits) == "member"
    gaps = known.labels < 0
    images, members = inputs_of(real.images), inputs_of(real.members().images)
    told = np.zeros((len(gaps), len(known.classes)))
    given = np.zeros(len(gaps), bool)
    how: dict[str, Any] = {"seed": seed, "fit": fit, "progress": progress}
    compact = Known(name, known.classes, known.labels[member])
    first = learn(members, compact, settings, work, digest=f"{digest} members", **how)
    tested = np.flatnonzero(~member & ~gaps).astype(np.int64)
    of_all = first.told(images)
    told[member], given[member] = of_all[member], first.given(of_all)[member]
    if gaps[~member].any():
        second = learn(images, known, settings, work, digest=digest, **how)
        of_all_second = second.told(images)
        told[~member], given[~member] = of_all_second[~member], second.given(of_all_second)[~member]
    measured = measure(known, tested, of_all[tested], first, [real.identities[row] for row in tested])
    return put_together(known, told, given, measured, confusions(known, tested, of_all[tested]))


def put_together(known: Known, told: Floats, given: npt.NDArray[np.bool_], measured: Measured, confused: list[Guess]) -> Filled:
    """What was known and what was told, as one column.

    Args:
        known: of the N images.
        told: (N, C) probabilities.
        given: (N,), whether they are sure enough.
        measured: what `measure` found.
        confused: what `confusions` found.
    """
    gaps, best = known.labels < 0, told.argmax(axis=1)
    classes = list(known.classes)
    labels = np.where(gaps, np.where(given, best, -1), known.labels)
    values: list[Value] = [classes[at] if at >= 0 else None for at in labels]
    probabilities: Floats = np.where(gaps, told.max(axis=1), 1.0)
    rows = sorted(np.flatnonzero(gaps).tolist(), key=lambda row: (probabilities[row], row))[:SHOWN]
    return Filled(
        values=values,
        probabilities=probabilities,
        labelled=int((~gaps).sum()),
        filled=int((gaps & given).sum()),
        open=int((gaps & ~given).sum()),
        classes=len(classes),
        measured=measured,
        unsure=[
            Guess(row, known.name, None, classes[best[row]], float(probabilities[row]), open=not given[row]) for row in rows
        ],
        confused=confused,
    )


def measure(known: Known, rows: Index, told: Floats, classifier: Classifier, people: Sequence[str] | None) -> Measured:
    """How right a classifier is on labelled images that it did not learn from.

    Args:
        known: with their labels.
        rows: (T,) which ones.
        told: (T, C) what the classifier says of them.
        classifier: which labels it would give.
        people: whose they are, T names; None: each is another's.
    """
    if not len(rows):
        return Measured(tested=0)
    right, given = told.argmax(axis=1) == known.labels[rows], classifier.given(told)
    who = [people[at] for at in np.flatnonzero(given).tolist()] if people is not None else None
    return Measured(
        tested=len(rows),
        people=len(set(people)) if people is not None else None,
        precision=share(right[given], who) if given.any() else None,
        answered=share(given, people),
        accuracy=share(right, people),
    )


def confusions(known: Known, rows: Index, told: Floats) -> list[Guess]:
    """The most frequent mistakes on images that were not learned from, each with the image that it was surest of."""
    classes, said = list(known.classes), told.argmax(axis=1)
    truth = known.labels[rows]
    pairs: dict[tuple[int, int], list[int]] = {}
    for at in np.flatnonzero(said != truth).tolist():
        pairs.setdefault((int(truth[at]), int(said[at])), []).append(at)
    found = []
    for (was, taken), ats in sorted(pairs.items(), key=lambda one: (-len(one[1]), one[0]))[:SHOWN]:
        at = max(ats, key=lambda one: (float(told[one, taken]), -one))
        guess = Guess(int(rows[at]), known.name, classes[was], classes[taken], float(told[at, taken]), count=len(ats))
        found.append(guess)
    return found


def worth_of_few(
    real: PrivateDataset, arm: str, samples: SyntheticDataset, settings: Settings, work: Path, reporter: Reporter
) -> FewLabels | NotMeasured:
    """What samples are worth to a recipient with few labels (`audit.utility: semi_vit`), told in a line, too.

    Args:
        real: members and hold-out people; the recipient's images are of the latter.
        arm: name of the samples.
        samples: the first `audit.samples` count.
        settings: `audit` and `seed` count.
        work: folder for the trainings, which resume there.
        reporter: reports progress.
    """
    with reporter.task("few labels") as progress:
        subjects = Subjects(real, settings.audit, settings.seed)
        chosen = samples.first(settings.audit.samples)
        found = few_labels(subjects, arm, chosen, settings.audit.few_labels, work, fit, progress)
    if isinstance(found, NotMeasured):
        reporter.say(f"  few labels: not measured: {found.why}")
    else:
        alone, both = found.curves["real"][0], found.curves["both"][0]
        reporter.say(f"  few labels: with {found.sizes[0]} real ones AUC {alone.value:.2f}, with the release {both.value:.2f}")
    return found


def _given(real: PrivateDataset, name: str) -> list[Value]:
    """A column as the data has it; -1 is not known."""
    if name in real.texts:
        return list(real.texts[name])
    if name in real.labels:
        return [None if np.isnan(value) or value == -1 else float(value) for value in real.labels[name]]
    there = sorted({*real.labels, *real.texts})
    raise UserError(
        f"no label '{name}' in the data", code="no-such-column", where=WHERE, fix=f"there are {', '.join(there[:10])}"
    )
