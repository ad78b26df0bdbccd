"""`pd labels --images I --labels COLUMN`: the gaps of a label column of anybody's images, filled by Semi-ViT."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from pd.audit.estimate import Estimate
from pd.classify.fine_tune import save_vit
from pd.classify.inputs import Inputs, shape
from pd.classify.onnx_file import write_onnx
from pd.config import parse_settings
from pd.dataset.cache import cached_images, forget_images
from pd.dataset.images import encode_png
from pd.engine.fit import fit
from pd.errors import UserError
from pd.labels.semi_vit import Known, Value, check_network, hold_out, learn
from pd.progress import Reporter
from pd.seeds import derive
from pd.stages.few_labels import Filled, confusions, measure, put_together
from pd.stages.given_images import given_images
from pd.stages.label_table import IDENTITY, IMAGE, values_of
from pd.store.atomic import disk_errors, write_folder

_OWN = ("probability", "known")  # columns of `labels.parquet`


class FilledFigures(BaseModel):
    """What is told of labels that were filled.

    Attributes:
        method: how.
        images: how many there are.
        labelled, filled, open: known before; gaps that got a label; gaps left open.
        classes: how many.
        tested: labelled images that were not learned from, on which the following were measured.
        split: `person`, or `picture` where nobody is named: a person may then be on both sides.
        precision, answered, accuracy: of the labels given; share given; of all guesses; each with its 95 % interval.
        warnings: what a reader must know.
    """

    method: str
    images: int
    labelled: int
    filled: int
    open: int
    classes: int
    tested: int
    split: str
    precision: Estimate | None = None
    answered: Estimate | None = None
    accuracy: Estimate | None = None
    warnings: tuple[str, ...]


def fill_images(
    images: str, column: str, table: Path | None, out: Path, overrides: Sequence[str], reporter: Reporter
) -> FilledFigures:
    """Fill the gaps of a column of labels.

    Args:
        images: a folder, Parquet or tar, or what a reader or a preset opens.
        column: of the Parquet, a label that a reader reads, or of `table`; text or numbers, empty or -1 where not known. A
            column `identity` says who is shown.
        table: for images that are not in Parquet: CSV or Parquet with the columns `image` (the path within `images`), COLUMN
            and, where people are known, `identity`.
        out: becomes a folder with `labels.parquet` (image, COLUMN, probability, known), `figures.json`, `unsure.json`,
            `unsure.png`, `confused.png` and `model/` (safetensors, ONNX). A training that was stopped resumes from `.OUT.work`.
        overrides: settings as `key=value`.
        reporter: reports progress.

    Raises:
        UserError: images or labels that cannot be used.
    """
    asked = {"labels": {"columns": [column], "method": "semi_vit"}}
    settings = parse_settings(asked, overrides, where="pd labels")
    assert settings.labels is not None
    if settings.labels.method != "semi_vit":
        what = f"pd labels fills gaps by semi_vit, not by {settings.labels.method}"
        raise UserError(
            what, code="bad-options", where="--method", fix="use semi_vit; fill and transition are for a run (labels.columns)"
        )
    if out.exists() and not (out.is_dir() and (out / "labels.parquet").exists()):
        raise UserError("holds other things than labels", code="other-files", where=str(out), fix="name a new folder")
    if column in (IMAGE, IDENTITY, *_OWN):
        raise UserError(
            f"the column '{column}' holds no label", code="bad-name", where="--labels", fix="rename it, or name another"
        )
    work, where = out.absolute().parent / f".{out.name}.work", str(table or images)
    with disk_errors(out), given_images(images, settings.data, work / "source", reporter) as given:
        ids = given.images.ids
        rows = given.values(column, IDENTITY) if table is None else values_of(table, column, ids)
        if not any(column in row for row in rows):
            fix = "name one that is there" if table else "name one of the Parquet, or --table for images in files"
            raise UserError(f"no column '{column}' beside the images", code="no-such-column", where=where, fix=fix)
        of_name = dict(zip(ids, rows, strict=True))
        with reporter.task("images") as progress:
            inputs, names, digest = cached_images(given.place, given.images, settings.data, work / "images", progress)
        known = Known.of(column, [None if (value := of_name[name].get(column)) == -1 else value for name in names])
        if (known.labels >= 0).all():
            raise UserError(f"the column '{column}' has no gap", code="bad-column", where=where, fix="there is nothing to fill")
        people = [of_name[name].get(IDENTITY) for name in names]
        groups, by_person = _groups(people, names, known)
        held = hold_out(known, groups, settings.labels.semi_vit.held, settings.seed)
        learned = known.only(~held)
        learned.check(where)
        check_network(settings.labels, shape(inputs), len(known.classes))
        gaps = np.flatnonzero(known.labels < 0).astype(np.int64)
        # Other pictures of a person who is measured on are not looked at either.
        shown = {groups[row] for row in np.flatnonzero(held)}
        others = np.array([row for row in gaps if groups[row] not in shown], np.int64)
        with reporter.task("semi_vit") as progress:
            found = learn(
                inputs,
                learned,
                settings.labels,
                work,
                seed=derive(settings.seed, "labels"),
                digest=digest,
                unlabelled=others,
                fit=fit,
                progress=progress,
            )
            told = found.told(inputs)
        tested = np.flatnonzero(held).astype(np.int64)
        measured = measure(known, tested, told[tested], found, [groups[row] for row in tested] if by_person else None)
        filled = put_together(known, told, found.given(told), measured, confusions(known, tested, told[tested]))
        figures = _figures(filled, len(names), by_person, sum(map(_nameless, people)))
        with write_folder(out) as folder:
            _write(folder, names, known, filled, figures, inputs)
            (folder / "model").mkdir()
            save_vit(found.module, settings.labels.semi_vit.network, shape(inputs), len(known.classes), folder / "model")
            (folder / "model" / "classes.json").write_text(json.dumps(list(known.classes)) + "\n", encoding="utf-8")
            if not write_onnx(found.module, shape(inputs), folder / "model" / "model.onnx"):
                reporter.say("  no ONNX file: the package onnx is not installed")
        forget_images(work / "images")
    for line in figures.warnings:
        reporter.say(f"  {line}")
    return figures


def _groups(people: Sequence[Value], names: Sequence[str], known: Known) -> tuple[list[str], bool]:
    """Which images stay on one side, and whether they are those of a person.

    They are where every labelled image has a name; an image without one is then a group of its own, and never held out.
    """
    by_person = not any(_nameless(who) for who, label in zip(people, known.labels, strict=True) if label >= 0)
    if not by_person:
        return list(names), False
    return [f"\0{name}" if _nameless(who) else str(who) for who, name in zip(people, names, strict=True)], True


def _nameless(who: Value) -> bool:
    return who in (None, "") or who != who


def _figures(filled: Filled, images: int, by_person: bool, nameless: int) -> FilledFigures:
    found, warnings = filled.measured, []
    if not found.tested:
        warnings.append("too few labels to hold some out: nobody knows how right the filled ones are")
    if nameless and by_person:
        warnings.append(f"{nameless} of {images} images, none of them labelled, have no name: they may show who is measured on")
    elif not by_person:
        some = f"{nameless} of {images} images have no name" if nameless < images else "nobody is named"
        warnings.append(f"{some} (a column `identity`): images are split by picture, and a person may be on both sides")
    return FilledFigures(
        method="semi_vit",
        images=images,
        **filled.counts(),
        tested=found.tested,
        split="person" if by_person else "picture",
        precision=found.precision,
        answered=found.answered,
        accuracy=found.accuracy,
        warnings=tuple(warnings),
    )


def _write(folder: Path, names: list[str], known: Known, filled: Filled, figures: FilledFigures, inputs: Inputs) -> None:
    number = all(value is None or isinstance(value, float) for value in filled.values)
    sure, given = _OWN
    columns = {
        IMAGE: names,
        known.name: pa.array(filled.values, pa.float64() if number else pa.string()),
        sure: filled.probabilities,
        given: known.labels >= 0,
    }
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    (folder / "figures.json").write_text(json.dumps(figures.model_dump(), indent=2) + "\n", encoding="utf-8")
    shown: dict[str, Any] = {
        kind: [{"image": names[guess.row], **asdict(guess)} for guess in guesses]
        for kind, guesses in (("unsure", filled.unsure), ("confused", filled.confused))
    }
    (folder / "unsure.json").write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")
    for kind, guesses in (("unsure", filled.unsure), ("confused", filled.confused)):
        if guesses:
            pixels = inputs.take(np.array([guess.row for guess in guesses], np.int64))
            sheet = np.concatenate(list(pixels), axis=1).astype(np.uint8)
            (folder / f"{kind}.png").write_bytes(encode_png(sheet))
