"""Votes to labels, by the method that the settings name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from pd.classify.inputs import Inputs
from pd.config.labels import LabelsSettings
from pd.labels.ccc import CccTask
from pd.labels.combine import with_votes
from pd.labels.crowd_layer import CrowdLayerTask
from pd.labels.dawid_skene import CHANCE, agrees_by_chance, dawid_skene
from pd.labels.majority import majority
from pd.labels.result import Labelled
from pd.labels.votes import Votes
from pd.progress import Progress, silent
from pd.training.digest import training_digest
from pd.training.loop import FACTS, fit_here


def label(
    votes: Votes,
    inputs: Inputs | None,
    settings: LabelsSettings,
    work: Path,
    *,
    seed: int,
    digest: str = "",
    progress: Progress = silent,
) -> Labelled:
    """Labels of all images in `votes.images`; a network's are put together with the votes (`pd.labels.combine`).

    Args:
        votes: of the annotators.
        inputs: the images, in the order of `votes.images`; None for methods that look at none.
        settings: the method and its training.
        work: folder for checkpoints; the same call resumes there.
        seed: of networks and batches.
        digest: of the inputs' content.
        progress: called as the method goes.
    """
    if settings.method == "majority":
        return _warned(majority(votes), votes)
    if settings.method == "dawid_skene":
        return dawid_skene(votes, progress=progress)
    if inputs is None:
        raise ValueError(f"{settings.method} looks at images")
    size = min(settings.batch, int((np.bincount(votes.image, minlength=len(votes.images)) > 0).sum()))
    task: CrowdLayerTask | CccTask
    if settings.method == "crowd_layer":
        task = CrowdLayerTask(inputs, votes, seed=seed, batch=size, width=settings.width, digest=digest)
    else:
        task = CccTask(
            inputs,
            votes,
            seed=seed,
            warmup=settings.warmup,
            steps=settings.training.steps,
            batch=size,
            width=settings.width,
            groups=settings.groups,
            digest=digest,
        )
    out = fit_here(task, settings.training, work / training_digest(settings.training), progress)
    held = load_file(out / "labels.safetensors")
    seen, confusions = held["probabilities"].astype(np.float64), held["confusions"].astype(np.float64)
    facts = json.loads((out / FACTS).read_text(encoding="utf-8"))
    warnings = list(votes.warnings)
    if without := facts.get("without_sample"):
        warnings.append(
            f"{without} of {len(votes.classes)} classes have no image that a network predicts: they correct nothing, "
            "and the networks correct each other by the other classes"
        )
    return _warned(Labelled(with_votes(seen, votes, confusions), confusions, tuple(warnings)), votes)


def _warned(found: Labelled, votes: Votes) -> Labelled:
    return replace(found, warnings=(*found.warnings, CHANCE)) if agrees_by_chance(votes) else found
