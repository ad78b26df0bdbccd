"""The members' labelled images, who is in each, and how people are dealt out to teachers. Private."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.classify.inputs import Inputs, inputs_of
from pd.config.classifier import ClassifierSettings
from pd.dataset.parquet_images import Images, rows_of
from pd.dataset.shared import people_with
from pd.errors import UserError
from pd.formal.people import bounded
from pd.seeds import derive

Rows = npt.NDArray[np.int64]
MOST_CLASSES = 64


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images, a person's together.

    Attributes:
        images: (N, H, W, C) uint8, in memory or in files.
        labels: (N,) int64, classes.
        first: (P + 1,) int64: person p's images are rows first[p] to first[p + 1].
        classes: their names.
    """

    images: Images
    labels: Rows
    first: Rows
    classes: tuple[str, ...]

    @property
    def people(self) -> int:
        """P."""
        return len(self.first) - 1

    @property
    def owner(self) -> Rows:
        """(N,) whose each image is."""
        return np.repeat(np.arange(self.people), np.diff(self.first)).astype(np.int64)

    def take(self, rows: Rows) -> tuple[Inputs, npt.NDArray[np.float32]]:
        """Images of rows, and their classes as (n, C) float32 targets."""
        return inputs_of(rows_of(self.images, rows)), np.eye(len(self.classes), dtype=np.float32)[self.labels[rows]]

    def parts(self, count: int, seed: int) -> list[Rows]:
        """Rows of each of so many parts that share no person: people dealt out in an order that follows from the seed."""
        place = np.empty(self.people, np.int64)
        place[np.random.default_rng(derive(seed, "teachers")).permutation(self.people)] = np.arange(self.people)
        part = (place % count)[self.owner]
        return [np.flatnonzero(part == number).astype(np.int64) for number in range(count)]


def examples(
    images: Images,
    values: Sequence[str | float | None],
    identities: Sequence[str],
    settings: ClassifierSettings,
    k: int,
    seed: int,
) -> Examples:
    """Labelled images of a bounded number a person; images without a label are left out.

    Args:
        images: (N, H, W, C) uint8.
        values: N labels, words or numbers; None or NaN where missing.
        identities: who is in each.
        settings: of the section `classifier`.
        k: people that must carry a class, for its name leaves with the classifier.
        seed: which of more images are taken.

    Raises:
        UserError: one class, numbers of many values, or a class of very few people. No value is said.
    """
    known = np.array([value is not None and value == value and value != "" for value in values], bool)
    rows = np.flatnonzero(known).tolist()
    if not rows:
        raise UserError("no image has this label", code="no-images", where="classifier.label", fix="name another column")
    given = [word(values[row]) for row in rows]
    names = sorted(set(given), key=_order)
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"{len(names)} different values are too many to be classes",
            code="too-many-classes",
            where="classifier.label",
            fix=f"name a label of at most {MOST_CLASSES} values",
        )
    if len(names) < 2:
        raise UserError(
            "there is one class: nothing to tell apart", code="one-class", where="classifier.label", fix="name another column"
        )
    who = [identities[row] for row in rows]
    carried = people_with(given, who)
    rare = sum(carried[name] < k for name in names)
    if rare:
        raise UserError(
            f"{rare} of {len(names)} classes are of fewer than {k} people, and their names would leave with the classifier",
            code="too-few-labels",
            where="classifier.label",
            fix="put them together with others, or leave these labels empty",
        )
    chosen, first = bounded(who, settings.images_per_person, seed)
    number = {name: place for place, name in enumerate(names)}
    labels = np.array([number[given[row]] for row in chosen], np.int64)
    return Examples(rows_of(images, np.array(rows, np.int64)[chosen]), labels, first, tuple(names))


def refuse_unfit(held: Examples, settings: ClassifierSettings, seed: int) -> None:
    """Refuse what would make teachers that cannot learn.

    Raises:
        UserError: a part never sees a class; how many, not which.
    """
    if settings.method == "dp_sgd":
        return
    parts = held.parts(settings.teachers, seed)
    lacking = sum(len(np.unique(held.labels[rows])) < len(held.classes) for rows in parts)
    if lacking:
        raise UserError(
            f"{lacking} of {settings.teachers} teachers would never see one of the classes",
            code="too-few-labels",
            where="classifier.teachers",
            fix="set fewer teachers, or leave the rarest class out",
        )


def word(value: str | float | None) -> str:
    """A value as a class is named."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _order(name: str) -> tuple[int, float, str]:
    """Numbers as numbers, before words."""
    try:
        value = float(name)
    except ValueError:
        return 1, 0.0, name
    return (0, value, name) if math.isfinite(value) else (1, 0.0, name)  # nothing sorts by NaN
