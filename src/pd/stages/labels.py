"""Labels: from votes of annotators, or from noisy columns and columns with gaps, before anything else reads labels. Private."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pd.config import digest_of
from pd.config.labels import LabelsSettings
from pd.dataset.private import MAX_CATEGORIES, PrivateDataset
from pd.dataset.real import as_given
from pd.dataset.worked_out import write_labels
from pd.labels.annotators import annotators, write_annotators
from pd.labels.columns import Mended
from pd.labels.majority import majority
from pd.labels.result import Floats, Labelled, known
from pd.labels.votes import Votes
from pd.stages.base import Facts
from pd.stages.label_steps import by_columns, by_votes, votes_of
from pd.store.atomic import write_folder, write_json
from pd.store.context import Context
from pd.store.lineage import read_record

FIGURES, CHANGED, ANNOTATORS = "figures.json", "changed.json", "annotators.csv"
SHOWN = 24  # changed labels that are named for the report

Value = str | float | None


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings.labels
    assert settings is not None
    real = as_given(PrivateDataset.open(run.dataset), context.settings)
    record = read_record(run.record("ingest"))
    how: dict[str, Any] = {
        "seed": context.seed("labels"),
        "digest": digest_of(record.outputs if record else None),
    }
    work = run.work / "labels"
    with write_folder(run.labels) as folder, context.reporter.task(settings.method) as progress:
        if settings.method == "semi_vit":
            figures = _of_few(real, settings, work, folder, {**how, "progress": progress})
        elif settings.columns:
            figures = _of_columns(real, settings, work, folder, {**how, "progress": progress})
        else:
            figures = _of_votes(context, real, settings, work, folder, {**how, "progress": progress})
        write_json(folder / FIGURES, figures)
    for line in figures["warnings"]:
        context.reporter.say(f"  {line}")
    return {name: figures[name] for name in ("method", "images", "labelled", "changed")}


def _of_votes(
    context: Context, real: PrivateDataset, settings: LabelsSettings, work: Path, folder: Path, how: dict[str, Any]
) -> dict[str, Any]:
    votes = votes_of(context, real, settings)
    found = by_votes(votes, real, settings, work, **how)
    values = given(votes, found, settings)
    write_labels(folder, real.ids, {settings.column: values}, {settings.column: found.confidence})
    before = _before(real, votes, settings.column)
    write_annotators(annotators(votes, found), folder / ANNOTATORS)
    changed = _changed(real.ids, {settings.column: before}, {settings.column: values}, {settings.column: found.confidence})
    write_json(folder / CHANGED, changed[:SHOWN])
    warnings = list(found.warnings)
    if isinstance(next((value for value in values if value is not None), 0.0), str) and len(votes.classes) > MAX_CATEGORIES:
        warnings.append(
            f"{len(votes.classes)} classes are more than {MAX_CATEGORIES}: they are in the table, and make no labels"
        )
    return {
        "method": settings.method,
        "source": "votes",
        "names": [settings.column],
        "images": len(real),
        "labelled": sum(value is not None for value in values),
        "changed": len(changed),
        "against": "the column of that name" if settings.column in _columns(real) else "the majority",
        "votes": len(votes),
        "annotators": len(votes.annotators),
        "classes": len(votes.classes),
        "warnings": warnings,
    }


def _of_columns(
    real: PrivateDataset, settings: LabelsSettings, work: Path, folder: Path, how: dict[str, Any]
) -> dict[str, Any]:
    noisy, found = by_columns(real, settings, work, **how)
    sure = np.maximum(found.present, 1 - found.present)
    labels = np.where(sure >= settings.sure, (found.present > 0.5).astype(np.float64), np.nan)
    values = {name: _open(labels[:, j]) for j, name in enumerate(settings.columns)}
    probabilities = {name: sure[:, j] for j, name in enumerate(settings.columns)}
    write_labels(folder, real.ids, values, probabilities)
    before = {name: _open(noisy[:, j]) for j, name in enumerate(settings.columns)}
    changed = _changed(real.ids, before, values, probabilities)
    write_json(folder / CHANGED, changed[:SHOWN])
    return {
        "method": settings.method,
        "source": "columns",
        "names": list(settings.columns),
        "images": len(real),
        "labelled": int(np.isfinite(labels).any(axis=1).sum()),
        "changed": len(changed),
        "against": "the columns as they are",
        "filled": int((np.isnan(noisy) & np.isfinite(labels)).sum()),
        "transitions": _transitions(found, settings),
        "warnings": list(found.warnings),
    }


def _of_few(real: PrivateDataset, settings: LabelsSettings, work: Path, folder: Path, how: dict[str, Any]) -> dict[str, Any]:
    from pd.stages.few_labels import UNSURE, check_column, fill_column

    for name in settings.columns:  # all of them before the first training
        check_column(real, name, settings)
    found = {name: fill_column(real, name, settings, work, **how) for name in settings.columns}
    values = {name: one.values for name, one in found.items()}
    write_labels(folder, real.ids, values, {name: one.probabilities for name, one in found.items()})
    write_json(folder / CHANGED, [])
    shown: dict[str, list[dict[str, Any]]] = {"unsure": [], "confused": []}
    for one in found.values():
        shown["unsure"] += [{"id": real.ids[guess.row], **asdict(guess)} for guess in one.unsure]
        shown["confused"] += [{"id": real.ids[guess.row], **asdict(guess)} for guess in one.confused]
    write_json(folder / UNSURE, shown)
    warnings = []
    for name, one in found.items():
        if not one.measured.tested:
            warnings.append(f"{name}: no hold-out person has a label, so nobody knows how right the filled ones are")
        if one.classes > MAX_CATEGORIES and name in real.texts:
            warnings.append(f"{name} has more than {MAX_CATEGORIES} classes: they are in the table, and make no labels")
    return {
        "method": settings.method,
        "source": "columns",
        "names": list(settings.columns),
        "images": len(real),
        "labelled": int(np.any([[value is not None for value in column] for column in values.values()], axis=0).sum()),
        "changed": 0,
        "against": "the columns as they are",
        "filled": sum(one.filled for one in found.values()),
        "measured": {name: {**one.counts(), **asdict(one.measured)} for name, one in found.items()},
        "warnings": warnings,
    }


def given(votes: Votes, found: Labelled, settings: LabelsSettings) -> list[Value]:
    """Each image's label, a number where all classes are numbers; None where it is not known."""
    names = _as_values(votes.classes)
    return [names[int(at)] if sure else None for at, sure in zip(found.labels, known(votes, found, settings), strict=True)]


def _as_values(classes: Any) -> list[Value]:
    try:
        numbers = [float(name) for name in classes]
    except ValueError:
        return list(classes)
    return list(numbers) if np.isfinite(numbers).all() and len(set(numbers)) == len(numbers) else list(classes)


def _columns(real: PrivateDataset) -> set[str]:
    return {*real.labels, *real.texts}


def _before(real: PrivateDataset, votes: Votes, column: str) -> list[Value]:
    """The labels that were there: of the data, else what most votes say."""
    if column in real.texts:
        return list(real.texts[column])
    if column in real.labels:
        return _open(real.labels[column])
    has = np.bincount(votes.image, minlength=len(votes.images)) > 0
    names = _as_values(votes.classes)
    return [names[int(at)] if there else None for at, there in zip(majority(votes).labels, has, strict=True)]


def _open(column: Floats) -> list[Value]:
    return [float(value) if np.isfinite(value) else None for value in column]


def _changed(
    ids: list[str], before: dict[str, list[Value]], after: dict[str, list[Value]], probabilities: dict[str, Floats]
) -> list[dict[str, Any]]:
    """Labels that were another before, the surest first; open ones do not count."""
    found = [
        {"id": ids[row], "label": name, "before": old, "after": new, "probability": float(probabilities[name][row])}
        for name, values in after.items()
        for row, (old, new) in enumerate(zip(before[name], values, strict=True))
        if old is not None and new is not None and old != new
    ]
    return sorted(found, key=lambda one: (-one["probability"], one["id"], one["label"]))


def _transitions(found: Mended, settings: LabelsSettings) -> list[dict[str, Any]]:
    if found.transitions is None:
        return []
    return [
        {"label": name, "how": how, "given_absent": float(matrix[0, 1]), "missed_present": float(matrix[1, 0])}
        for name, how, matrix in zip(settings.columns, found.transitions.how, found.transitions.matrices, strict=True)
    ]
