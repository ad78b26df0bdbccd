"""Labels of both sides of a run: members' from members alone, so that nothing of a hold-out person reaches a generator."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pd.classify.inputs import inputs_of
from pd.config.labels import LabelsSettings
from pd.dataset.names import source_names
from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.labels.columns import Mended, check_columns, mended
from pd.labels.fit import label
from pd.labels.result import Floats, Labelled
from pd.labels.votes import Votes, read_votes
from pd.progress import Progress
from pd.store.context import Context


def votes_of(context: Context, real: PrivateDataset, settings: LabelsSettings) -> Votes:
    """The votes on the run's images, by their paths in the source or by their ids, in the order of `real`.

    Raises:
        UserError: no table, or no vote for an image, or for a member's.
    """
    assert settings.votes is not None
    named = source_names(context.settings.data, real.ids)
    names = [name or ident for name, ident in zip(named, real.ids, strict=True)]
    if len(set(names)) < len(names):  # rows of several tables
        names = list(real.ids)
    try:
        votes = read_votes(settings.votes, names)
    except UserError as error:
        if error.code != "no-images":
            raise
        votes = read_votes(settings.votes, real.ids)
    return replace(votes, images=list(real.ids))


def by_votes(
    votes: Votes, real: PrivateDataset, settings: LabelsSettings, work: Path, *, seed: int, digest: str, progress: Progress
) -> Labelled:
    """Labels of all images: those of members from members' votes and images alone, those of hold-out people from all.

    Annotators' matrices and warnings are those of all.
    """
    members = np.flatnonzero(np.array(real.splits) == "member")
    own = votes.of_images(members)
    if not len(own):
        raise UserError(
            "no vote is for a member", code="no-images", where=str(settings.votes), fix="members' images need votes, too"
        )
    images = inputs_of(real.images) if settings.looks else None
    of_members = inputs_of(real.members().images) if settings.looks else None
    first = label(own, of_members, settings, work, seed=seed, digest=f"{digest} members", progress=progress)
    found = label(votes, images, settings, work, seed=seed, digest=digest, progress=progress)
    probabilities = found.probabilities.copy()
    probabilities[members] = first.probabilities
    return replace(found, probabilities=probabilities)


def by_columns(
    real: PrivateDataset, settings: LabelsSettings, work: Path, *, seed: int, digest: str, progress: Progress
) -> tuple[Floats, Mended]:
    """The columns as they are, (N, q), and mended; members' from members alone. Transitions are those of all."""
    for name in settings.columns:
        if name not in real.labels:
            raise UserError(
                f"no label '{name}' in the data",
                code="no-such-column",
                where="labels.columns",
                fix=f"there are {', '.join(sorted(real.labels)[:10])}",
            )
    noisy = np.stack([real.labels[name] for name in settings.columns], axis=1)
    noisy = np.where(noisy == -1, np.nan, noisy)
    members = np.flatnonzero(np.array(real.splits) == "member")
    check_columns(noisy[members], settings.columns)
    check_columns(noisy, settings.columns)
    first = mended(
        noisy[members],
        inputs_of(real.members().images),
        settings,
        work,
        seed=seed,
        digest=f"{digest} members",
        progress=progress,
    )
    found = mended(noisy, inputs_of(real.images), settings, work, seed=seed, digest=digest, progress=progress)
    present = found.present.copy()
    present[members] = first.present
    return noisy, replace(found, present=present)
