"""`pd classifier --images`: a private classifier of anybody's labelled images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pd.classifier.examples import examples
from pd.config import parse_settings
from pd.dataset.cache import cached_images
from pd.errors import UserError
from pd.progress import Reporter
from pd.stages.classifier_steps import cleared, made, prepared, public_queries, released
from pd.stages.given_images import given_images
from pd.stages.people_of import people_of
from pd.store.atomic import disk_errors


def classifier_of_images(
    images: str, label: str, out: Path, overrides: Sequence[str], reporter: Reporter
) -> dict[str, float | int | str]:
    """Train a private classifier of the images of a place.

    Args:
        images: a folder with a sub-folder a class (`label`: `folder`), each picture a person; Parquet with a column
            `label.LABEL` of numbers and, where people have several images, a column `identity`; or what a reader or a preset
            opens, with its labels of numbers or words and the people whom it names.
        label: which label makes the classes.
        out: becomes the folder of the classifier. What was stopped resumes from `.OUT.work`.
        overrides: settings as `key=value`.
        reporter: reports progress.

    Returns:
        `classes`, `people`, `images`, `epsilon`, `delta` and `lower bound`.

    Raises:
        UserError: images, labels or settings that cannot be used.
    """
    settings = parse_settings({"classifier": {"label": label}}, overrides, where="pd classifier")
    how = settings.classifier
    assert how is not None
    asked = "baseline" if how.baseline != "off" else "shadows" if how.shadows else None
    if asked:
        raise UserError(
            f"classifier.{asked} is measured on hold-out people, and of --images nobody is held out",
            code="bad-options",
            where=f"classifier.{asked}",
            fix="leave it out, or make a run: `pd init`, then `pd classifier`",
        )
    if out.exists() and not (out / "claim.json").is_file():
        raise UserError("holds other things than a classifier", code="other-files", where=str(out), fix="name a new folder")
    work = out.absolute().parent / f".{out.name}.work"
    with disk_errors(out), given_images(images, settings.data, work / "source", reporter) as there:
        _, words = there.labelled()
        if label not in words:
            fix = f"name one of: {', '.join(sorted(words)[:10])}"
            raise UserError(
                f"the images have no label '{label}'", code="no-such-column", where="pd classifier --label", fix=fix
            )
        people = people_of(there)
        if people is None:
            reporter.say("  no column identity: each image counts as a person of its own")
        at = {name: number for number, name in enumerate(there.images.ids)}
        with reporter.task("images") as progress:
            held, names, digest = cached_images(there.place, there.images, settings.data, work / "images", progress)
        rows = [at[name] for name in names]
        who = [people[row] if people else names[place] for place, row in enumerate(rows)]
        given = examples(held.images, [words[label][row] for row in rows], who, how, settings.generate.prompt_k, settings.seed)
        public = public_queries(settings, held.images, who)
        plan = prepared(how, given, settings.seed, reporter)
        found = made(how, plan, given, public, work / "classifier", settings.seed, digest, reporter)
        epsilon = released(out, out.name, found, given, None)
        cleared(work)
    told = epsilon.value if np.isfinite(epsilon.value) else "no guarantee"
    bound = "not measured" if found.bound is None else found.bound.epsilon
    counts = {"classes": len(given.classes), "people": given.people, "images": len(names)}
    return {**counts, "epsilon": told, "delta": how.delta, "lower bound": bound}
