"""`pd condense --images`: anybody's labelled images condensed. Nothing of it is filtered or audited."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pd.config import parse_settings
from pd.dataset.cache import cached_images, forget_images
from pd.dataset.external import list_images, read_texts, refuse_reader
from pd.dataset.synthetic import SyntheticDataset
from pd.errors import UserError
from pd.progress import Reporter
from pd.stages.condense import classes_of, condensed, dataset, write
from pd.store.atomic import disk_errors
from pd.store.places import Place

IMAGES = "images"  # below the folder of the work: everybody's pictures, decoded
FOLDER = "folder"  # the label that image files have: the folder that each lies in


def condense_images(images: str, label: str, out: Path, overrides: Sequence[str], reporter: Reporter) -> dict[str, int]:
    """Condense the images of a place.

    Args:
        images: a folder with a sub-folder a class (`label`: `folder`), or Parquet with a column `label.LABEL` of numbers.
        label: which label makes the classes; several, joined by commas.
        out: becomes a folder with `data/` (Parquet), `sheet.png` and, where folders are the classes, `classes.json`, which says
            what the numbers of the label stand for. A training that was stopped resumes from `.OUT.work`; the images that were
            kept there are removed in the end.
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
    refuse_reader(settings.data, "pd condense --images")
    if out.exists() and not (out / "data").is_dir():
        raise UserError(
            "holds other things than condensed pictures", code="other-files", where=str(out), fix="name a new folder"
        )
    work = out.absolute().parent / f".{out.name}.work"
    place = Place.parse(images)
    listed = list_images(place)
    prompts, labels = read_texts(place, listed)
    at = {name: number for number, name in enumerate(listed.names)}
    folders: list[str] | None = None
    if not labels:
        above = [name.rpartition("/")[0] for name in listed.names]
        folders = sorted(set(above))
        number = {name: float(place) for place, name in enumerate(folders)}
        labels = {FOLDER: np.array([number[name] for name in above])}
    with disk_errors(out):
        with reporter.task("images") as progress:
            held, found, _ = cached_images(place, listed, settings.data, work / IMAGES, progress)
        rows = np.array([at[name] for name in found], np.int64)
        pixels = np.asarray(held.take(np.arange(len(found))))
        given = SyntheticDataset(
            found, pixels, [prompts[row] for row in rows], {name: values[rows] for name, values in labels.items()}
        )
        data, of = classes_of(given, how)
        pictures, classes = condensed(data, how, settings.seed, work / "condense", reporter)
        names = None if folders is None else {FOLDER: folders}
        write(dataset(pictures, classes, given, of, data.labels, how), classes, out, names)
        forget_images(work / IMAGES)
    return {"classes": len(data.names), "pictures": len(pictures), "from": len(data.labels)}
