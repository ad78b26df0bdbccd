"""`pd labels`: labels of anybody's images from the votes of several annotators."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from pd.classify.inputs import Inputs
from pd.config import DataSettings, parse_settings
from pd.config.labels import LabelsSettings
from pd.dataset.cache import cached_images, forget_images
from pd.dataset.readable import Readable
from pd.errors import UserError
from pd.labels.annotators import annotators, write_annotators
from pd.labels.fit import label
from pd.labels.majority import majority
from pd.labels.result import Labelled, known
from pd.labels.votes import Votes, read_votes
from pd.progress import Reporter
from pd.stages.given_images import given_images
from pd.store.atomic import disk_errors, write_folder


class LabelFigures(BaseModel):
    """What is told of labels that were made from votes.

    Attributes:
        method: how they were made.
        images: how many there are.
        labelled: how many got a label.
        votes, annotators, classes: how many there were.
        changed: share of the labels given to images with a vote that are not the majority's.
        confidence: mean probability of the labels given.
        warnings: what a reader must know.
    """

    method: str
    images: int
    labelled: int
    votes: int
    annotators: int
    classes: int
    changed: float
    confidence: float
    warnings: tuple[str, ...]


def label_images(votes: Path, images: str | None, out: Path, overrides: Sequence[str], reporter: Reporter) -> LabelFigures:
    """Work out labels from votes.

    Args:
        votes: CSV or Parquet with the columns `image, annotator, label`.
        images: the images, for methods that look at them; `image` is then the path within the place.
        out: becomes a folder with `labels.parquet` (image, label, probability), `annotators.csv`, `figures.json`, and the
            networks where there are some. A training that was stopped resumes from `.OUT.work` beside it.
        overrides: settings as `key=value`.
        reporter: reports progress.

    Raises:
        UserError: votes or images that cannot be used.
    """
    settings = parse_settings({"labels": {"votes": str(votes)}}, overrides, where="pd labels")
    assert settings.labels is not None
    if settings.labels.looks and images is None:
        raise UserError(
            f"{settings.labels.method} looks at the images",
            code="bad-options",
            where="--images",
            fix="name them, or use dawid_skene",
        )
    if out.exists() and not (out.is_dir() and (out / "labels.parquet").exists()):
        raise UserError("holds other things than labels", code="other-files", where=str(out), fix="name a new folder")
    work = out.absolute().parent / f".{out.name}.work"
    source = given_images(images, settings.data, work / "source", reporter) if images else nullcontext()
    with disk_errors(out), source as given:
        inputs, names, digest = _inputs(given, settings.data, work, reporter) if given is not None else (None, None, "")
        read = read_votes(votes, names)
        with reporter.task(settings.labels.method) as progress:
            looked_at = inputs if settings.labels.looks else None
            found = label(read, looked_at, settings.labels, work, seed=settings.seed, digest=digest, progress=progress)
        figures = write_labels(read, found, settings.labels, out)
        forget_images(work / "images")
    for line in figures.warnings:
        reporter.say(f"  {line}")
    return figures


def write_labels(votes: Votes, found: Labelled, settings: LabelsSettings, out: Path) -> LabelFigures:
    """Write a folder of labels, annotators and figures, whole or not there."""
    sure = known(votes, found, settings)
    names = np.array(votes.classes, dtype=object)[found.labels]
    given = [name if kept else None for name, kept in zip(names, sure, strict=True)]
    voted = sure & (np.bincount(votes.image, minlength=len(votes.images)) > 0)
    figures = LabelFigures(
        method=settings.method,
        images=len(votes.images),
        labelled=int(sure.sum()),
        votes=len(votes),
        annotators=len(votes.annotators),
        classes=len(votes.classes),
        changed=float((majority(votes).labels != found.labels)[voted].mean()) if voted.any() else 0.0,
        confidence=float(found.confidence[sure].mean()) if sure.any() else 0.0,
        warnings=found.warnings,
    )
    with write_folder(out) as folder:
        columns = {"image": list(votes.images), settings.column: given, "probability": found.confidence}
        pq.write_table(pa.table(columns), folder / "labels.parquet")
        write_annotators(annotators(votes, found), folder / "annotators.csv")
        (folder / "figures.json").write_text(json.dumps(figures.model_dump(), indent=2) + "\n", encoding="utf-8")
    return figures


def _inputs(given: Readable, data: DataSettings, work: Path, reporter: Reporter) -> tuple[Inputs, list[str], str]:
    """The images in files that are read as they are asked for, their names, and a digest of their content."""
    with reporter.task("images") as progress:
        return cached_images(given.place, given.images, data, work / "images", progress)
