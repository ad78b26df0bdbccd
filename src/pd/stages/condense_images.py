"""`pd condense --images`: anybody's labelled images condensed. Nothing of it is filtered or audited."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pd.config import parse_settings
from pd.dataset.cache import cached_images, forget_images
from pd.dataset.readable import Value
from pd.dataset.synthetic import SyntheticDataset
from pd.errors import UserError
from pd.progress import Reporter
from pd.stages.condense import classes_of, condensed, dataset, write
from pd.stages.given_images import given_images
from pd.store.atomic import disk_errors

IMAGES = "images"  # below the folder of the work: everybody's pictures, decoded


def condense_images(images: str, label: str, out: Path, overrides: Sequence[str], reporter: Reporter) -> dict[str, int]:
    """Condense the images of a place.

    Args:
        images: a folder with a sub-folder a class (`label`: `folder`), Parquet with a column `label.LABEL` of numbers, or
            what a reader or a preset opens, with its labels of numbers or words.
        label: which label makes the classes; several, joined by commas.
        out: becomes a folder with `data/` (Parquet), `sheet.png` and, where folders or words are the classes, `classes.json`,
            which says what the numbers of the label stand for. A training that was stopped resumes from `.OUT.work`; the
            images that were kept there are removed in the end.
        overrides: settings as `key=value`.
        reporter: reports progress.

    Returns:
        `classes`, and how many pictures there were (`from`) and are (`pictures`).

    Raises:
        UserError: images or labels that cannot be used.
    """
    settings = parse_settings({"condense": {"labels": label.split(",")}}, overrides, where="pd condense")
    how = settings.condense
    assert how is not None
    if out.exists() and not (out / "data").is_dir():
        raise UserError(
            "holds other things than condensed pictures", code="other-files", where=str(out), fix="name a new folder"
        )
    work = out.absolute().parent / f".{out.name}.work"
    with disk_errors(out), given_images(images, settings.data, work / "source", reporter) as given:
        prompts, said = given.labelled()
        at = {name: number for number, name in enumerate(given.images.ids)}
        labels, words = _numbers(said)
        with reporter.task("images") as progress:
            held, found, _ = cached_images(given.place, given.images, settings.data, work / IMAGES, progress)
        rows = np.array([at[name] for name in found], np.int64)
        pixels = np.asarray(held.take(np.arange(len(found))))
        taken = SyntheticDataset(
            found, pixels, [prompts[row] for row in rows], {name: values[rows] for name, values in labels.items()}
        )
        data, of = classes_of(taken, how)
        pictures, classes = condensed(data, how, settings.seed, work / "condense", reporter)
        names = {name: words[name] for name in how.labels if name in words}
        write(dataset(pictures, classes, taken, of, data.labels, how), classes, out, names or None)
        forget_images(work / IMAGES)
    return {"classes": len(data.names), "pictures": len(pictures), "from": len(data.labels)}


def _numbers(said: Mapping[str, Sequence[Value]]) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, list[str]]]:
    """Labels as numbers, NaN where missing, and of those that are words the words that 0, 1, and so on stand for."""
    labels, words = {}, {}
    for name, values in said.items():
        if any(isinstance(value, str) for value in values):
            words[name] = sorted({value for value in values if isinstance(value, str)})
            number = {word: float(place) for place, word in enumerate(words[name])}
            labels[name] = np.array([number[value] if isinstance(value, str) else np.nan for value in values])
        else:
            labels[name] = np.array([np.nan if value is None else value for value in values], np.float64)
    return labels, words
