"""Votes of annotators on images: read, checked, held as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pd.dataset.readers.delimited import read_delimited
from pd.errors import UserError

COLUMNS = ("image", "annotator", "label")
SHOWN = 3  # names in a message

Index = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Votes:
    """V votes of A annotators on N images, with C classes.

    Attributes:
        image: (V,) int64, 0 to N - 1.
        annotator: (V,) int64, 0 to A - 1.
        label: (V,) int64, 0 to C - 1.
        images: N names; those without a vote are there, too.
        annotators: A names.
        classes: C names, sorted.
        warnings: what was left out, or is too little, counted; no image or class is named in it.
    """

    image: Index
    annotator: Index
    label: Index
    images: Sequence[str]
    annotators: Sequence[str]
    classes: Sequence[str]
    warnings: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.label)

    def counts(self) -> npt.NDArray[np.float64]:
        """(N, C), how often each image was given each class."""
        cells = np.bincount(self.image * len(self.classes) + self.label, minlength=len(self.images) * len(self.classes))
        return cells.reshape(len(self.images), len(self.classes)).astype(np.float64)

    def of_images(self, rows: Index) -> "Votes":
        """The votes on some images, `rows`, (n,) distinct, in that order. Annotators without one are left out; classes stay."""
        place = np.full(len(self.images), -1)
        place[rows] = np.arange(len(rows))
        kept = place[self.image] >= 0
        who, annotator = np.unique(self.annotator[kept], return_inverse=True)
        return Votes(
            image=place[self.image[kept]].astype(np.int64),
            annotator=annotator.astype(np.int64),
            label=self.label[kept],
            images=[self.images[int(row)] for row in rows],
            annotators=[self.annotators[int(a)] for a in who],
            classes=self.classes,
            warnings=self.warnings,
        )


def read_votes(path: Path, images: Sequence[str] | None = None, classes: Sequence[str] | None = None) -> Votes:
    """Read a table `image, annotator, label`, one row a vote.

    Args:
        path: CSV (commas, tabs, semicolons or bars; UTF-8 or UTF-16) or Parquet; further columns are ignored.
        images: ids that a vote may be for; others are left out and counted. None: those in the table.
        classes: what a label may be. None: those in the table.

    Raises:
        UserError: no such table, column, or vote; a column of other things than text or numbers; an empty cell; a label that is
            none of the classes; one class only.
    """
    table = _read(path)
    for name in COLUMNS:
        empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(table[name]), ""), True)
        if pc.any(empty).as_py():
            row = int(np.flatnonzero(empty.to_numpy())[0]) + 1
            raise UserError(
                f"a vote without '{name}'", code="bad-row", where=f"{path}, row {row}", fix="remove the row, or fill it in"
            )
    warnings = []
    if images is not None:
        known = pc.is_in(table["image"], value_set=pa.array(list(images), pa.string()))
        if lost := len(table) - int(pc.sum(known).as_py() or 0):
            warnings.append(f"{lost} of {len(table)} votes are for images that are not there, and are left out")
            table = table.filter(known)
    if not len(table):
        raise UserError(
            "no vote is left", code="no-images", where=str(path), fix="check that `image` holds the ids or paths of the images"
        )
    found = sorted(set(pc.unique(table["label"]).to_pylist()))
    if classes is not None and (foreign := [name for name in found if name not in set(classes)]):
        raise UserError(
            f"{len(foreign)} labels are none of the classes",
            code="bad-labels",
            where=f"{path}, column 'label'",
            fix=f"the classes are {', '.join(list(classes)[:10])}",
        )
    names = sorted(classes) if classes is not None else found
    if len(names) < 2:
        raise UserError(
            "all votes are for one class", code="one-class", where=f"{path}, column 'label'", fix="there is nothing to decide"
        )
    who = sorted(set(pc.unique(table["annotator"]).to_pylist()))
    rows = sorted(set(pc.unique(table["image"]).to_pylist())) if images is None else list(images)
    votes = Votes(
        image=_places(table["image"], rows),
        annotator=_places(table["annotator"], who),
        label=_places(table["label"], names),
        images=rows,
        annotators=who,
        classes=names,
    )
    return Votes(**{**votes.__dict__, "warnings": (*warnings, *_scarce(votes))})


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
        else:
            path.stat()
            table = read_delimited(path, COLUMNS, gaps=True)  # as text: 001 is a name, not a number
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"no table of votes ({type(error).__name__})",
            code="unreadable-file",
            where=str(path),
            fix="CSV or Parquet with the columns image, annotator, label",
        ) from None
    if doubled := [name for name in COLUMNS if table.column_names.count(name) > 1]:
        raise UserError(f"two columns are called '{doubled[0]}'", code="bad-name", where=str(path), fix="rename one")
    if lacking := [name for name in COLUMNS if name not in table.column_names]:
        raise UserError(
            f"no column '{lacking[0]}' in the votes",
            code="no-such-column",
            where=str(path),
            fix=f"name the columns image, annotator, label; there are {', '.join(table.column_names[:10])}",
        )
    return pa.table({name: _texts(table[name], name, path) for name in COLUMNS})


def _texts(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    """As text; what is no number is null."""
    try:
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_finite(column), column, None)
        return column.cast(pa.string())
    except pa.ArrowException:
        raise UserError(
            f"column '{name}' is neither text nor numbers", code="bad-column", where=str(path), fix="write it as text"
        ) from None


def _places(column: pa.ChunkedArray, names: Sequence[str]) -> Index:
    found: Index = pc.index_in(column, value_set=pa.array(names, pa.string())).to_numpy().astype(np.int64)
    return found


def _scarce(votes: Votes) -> list[str]:
    """What is too little to learn from, or counts twice."""
    found = []
    pairs = votes.image * len(votes.annotators) + votes.annotator
    if again := len(pairs) - len(np.unique(pairs)):
        found.append(f"{again} of {len(votes)} votes are further ones of an annotator on the same image: each counts")
    per_annotator = np.bincount(votes.annotator, minlength=len(votes.annotators))
    if lone := int((per_annotator == 1).sum()):
        found.append(f"{lone} of {len(votes.annotators)} annotators gave one vote: their reliability is not known")
    per_image = np.bincount(votes.image, minlength=len(votes.images))
    if none := int((per_image == 0).sum()):
        found.append(f"{none} of {len(votes.images)} images have no vote")
    per_class = np.bincount(votes.label, minlength=len(votes.classes))
    if unused := int((per_class == 0).sum()):
        found.append(f"{unused} of {len(votes.classes)} classes have no vote")
    return found
