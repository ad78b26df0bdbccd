"""Condense: a few pictures a class from the kept candidates. Private until the filter and the audit have cleared them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pd.condense.formation import unpack
from pd.condense.make import Classes, expert_training, experts_of, pictures_in, tasks_of, training_of
from pd.config import CondenseSettings, FilterSettings
from pd.dataset.images import Pixels, encode_png
from pd.dataset.synthetic import SyntheticDataset
from pd.engine.fit_many import fit_many
from pd.errors import UserError
from pd.filters.decide import margin
from pd.filters.scorer import Scorer
from pd.progress import Reporter
from pd.stages.base import Facts
from pd.stages.filter import thresholds_in
from pd.store.atomic import write_folder, write_json
from pd.store.context import Context
from pd.store.run import Run

MOST_CLASSES = 64
SHEET = "sheet.png"
CLASSES = "classes.json"


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings.condense
    assert settings is not None
    kept = SyntheticDataset.open(run.kept)
    data, rows = classes_of(kept, settings)
    pictures, labels = condensed(data, settings, context.seed("condense"), run.work / "condense", context.reporter)
    safe = ~recognised(run, pictures, settings.factor, context.settings.filter)
    if not safe.any():
        raise UserError(
            "every condensed picture is re-identified as a member",
            code="nothing-kept",
            where="condense",
            fix="make the filter stricter, so that less of people is in what is condensed",
        )
    pictures, labels = pictures[safe], labels[safe]
    made = dataset(pictures, labels, kept, rows, data.labels, settings)
    write(made, labels, run.condensed)
    return {"classes": len(data.names), "pictures": len(made), "re-identified": int((~safe).sum()), "from": len(data.labels)}


def classes_of(kept: SyntheticDataset, settings: CondenseSettings) -> tuple[Classes, npt.NDArray[np.int64]]:
    """The kept candidates by class, and which rows of them these are; rows without one of the labels are left out.

    Raises:
        UserError: there is no such label, or it is a number of many values.
    """
    for name in settings.labels:
        if name not in kept.labels:
            raise UserError(
                f"the kept candidates have no label '{name}'",
                code="no-such-column",
                where="condense.labels",
                fix=f"name one of: {', '.join(sorted(kept.labels)) or 'none there is'}",
            )
    values = np.stack([kept.labels[name] for name in settings.labels], axis=1)
    rows = np.flatnonzero(np.isfinite(values).all(axis=1))
    if not len(rows):
        raise UserError("no kept candidate has these labels", code="no-images", where="condense.labels", fix="name others")
    found, labels = np.unique(values[rows], axis=0, return_inverse=True)
    if len(found) > MOST_CLASSES:
        raise UserError(
            f"{len(found)} different values are too many to be classes",
            code="too-many-classes",
            where="condense.labels",
            fix=f"name labels of at most {MOST_CLASSES} values, or fewer of them",
        )
    names = [" ".join(f"{name}={value:g}" for name, value in zip(settings.labels, one, strict=True)) for one in found.tolist()]
    images = np.asarray(kept.take(rows.astype(np.int64)).images[:])
    return Classes(images, labels.reshape(-1).astype(np.int64), names), rows.astype(np.int64)


def condensed(
    data: Classes, settings: CondenseSettings, seed: int, work: Path, reporter: Reporter
) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Condense labelled pictures, classes side by side; what was stopped resumes from `work`.

    Returns:
        (N, S, S, C) uint8 stored pictures, and their classes, (N,).

    Raises:
        UserError: the pictures cannot be condensed as the settings say, or a distance is not finite.
    """
    data.refuse_unfit(settings)
    experts, folders = experts_of(data, settings, seed), []
    gpus = settings.training.gpus_per_worker
    if experts:
        with reporter.task("experts") as progress:
            folders = fit_many(experts, expert_training(settings), work, progress, gpus=gpus)
    tasks = tasks_of(data, settings, seed, experts, folders)
    with reporter.task(settings.method) as progress:
        return pictures_in(fit_many(tasks, training_of(settings), work, progress, gpus=gpus))


def recognised(run: Run, pictures: Pixels, factor: int, filters: FilterSettings) -> npt.NDArray[np.bool_]:
    """(N,) bool: which stored pictures, or a part of which, the filter re-identifies as a member."""
    if not filters.reid:
        return np.zeros(len(pictures), np.bool_)
    scorer, thresholds = Scorer(run.reid, run.reid), thresholds_in(run)
    found = np.zeros(len(pictures), np.bool_)
    for looked_at, each in ((pictures, 1), (unpack(pictures, factor), factor**2)):
        scores = scorer.score(looked_at)
        above = margin(scores.score, scores.further, thresholds, filters.vote)
        found |= ~(above < 0).reshape(len(pictures), each).all(axis=1)
    return found


def dataset(
    pictures: Pixels,
    labels: npt.NDArray[np.int64],
    kept: SyntheticDataset,
    rows: npt.NDArray[np.int64],
    of: npt.NDArray[np.int64],
    settings: CondenseSettings,
) -> SyntheticDataset:
    """The stored pictures with the commonest prompt of their class, which enough people share, and its labels."""
    prompts, values = [], {name: np.zeros(len(labels)) for name in settings.labels}
    common: Mapping[int, str] = {
        int(one): _commonest([kept.prompts[row] for row in rows[of == one]]) for one in np.unique(labels)
    }
    for place, label in enumerate(labels.tolist()):
        prompts.append(common[label])
        first = rows[of == label][0]
        for name in settings.labels:
            values[name][place] = kept.labels[name][first]
    return SyntheticDataset([f"condensed-{place:06d}" for place in range(len(labels))], pictures, prompts, values)


def parts_of(made: SyntheticDataset, factor: int) -> SyntheticDataset:
    """What a recipient learns from, and an attacker looks at: the enlarged parts of the stored pictures."""
    each = np.repeat(np.arange(len(made)), factor**2).astype(np.int64)
    ids = [f"{made.ids[row]}-{place % factor**2}" for place, row in enumerate(each)]
    labels = {name: values[each] for name, values in made.labels.items()}
    return SyntheticDataset(ids, unpack(made.images[:], factor), [made.prompts[row] for row in each], labels)


def write(
    made: SyntheticDataset, labels: npt.NDArray[np.int64], folder: Path, names: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write `data/` (Parquet), `sheet.png` and `classes.json`, whole or not there.

    Args:
        made: the stored pictures.
        labels: (N,) their classes.
        folder: where to.
        names: what the values of a label, 0, 1, and so on, stand for; None: they stand for themselves, and no file says so.
    """
    with write_folder(folder) as aside:
        if names is not None:
            write_json(aside / CLASSES, names)
        made.write(aside / "data")
        (aside / SHEET).write_bytes(encode_png(sheet(made.images[:], labels)))


def sheet(pictures: Pixels, labels: npt.NDArray[np.int64]) -> Pixels:
    """All stored pictures, (H, W, C) uint8: a class a row."""
    rows = [pictures[labels == one] for one in np.unique(labels)]
    widest = max(len(row) for row in rows)
    lines = []
    for row in rows:
        blank = np.zeros((widest - len(row), *row.shape[1:]), np.uint8)
        lines.append(np.concatenate(list(np.concatenate([row, blank])), axis=1))
    return np.concatenate(lines, axis=0)


def _commonest(texts: list[str]) -> str:
    """The text that is there most often; of equals the first in the alphabet."""
    return min(set(texts), key=lambda text: (-texts.count(text), text))
