"""Purge: remove what a finished release no longer needs of a run, and remember that it was removed."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pd.errors import UserError
from pd.store.files import size_of
from pd.store.kept import discard, keep_json
from pd.store.mirror import bytes_of
from pd.store.run import Run

# In the order in which they go: models and pictures that remember people first.
PARTS: dict[str, str] = {
    "teacher": "the teacher, which has learned from the members' images",
    "arms": "students to compare with, which are not released",
    "generated": "all candidates with their scores, the dropped ones too",
    "topped_up": "likewise those made besides, of prompts of which too few were kept",
    "candidates": "the decisions on them",
    "samples": "what the audit drew from each model",
    "sweep": "the search for thresholds",
    "work": "checkpoints, caches and logs",
}


@dataclass(frozen=True)
class Part:
    """Something that goes.

    Attributes:
        name: as in `PARTS`.
        what: in words.
        path: where it lies.
        bytes: its size.
    """

    name: str
    what: str
    path: Path
    bytes: int


def purgeable(run: Run, keep: Collection[str] = ()) -> list[Part]:
    """What of a run is there and may go; the data set, the recognising network, audit, report and records stay.

    Those are what `pd verify` proves the release by, and what says how it was made.

    Args:
        run: whose release is finished.
        keep: names in `PARTS` that stay, too.

    Raises:
        UserError: there is no part of such a name.
    """
    for name in keep:
        if name not in PARTS:
            raise UserError(f"no part '{name}'", code="unknown-name", where="--keep", fix=f"choose of {', '.join(PARTS)}")
    paths = {
        "teacher": run.teacher,
        "arms": run.private / "arms",
        "generated": run.generated,
        "topped_up": run.topped_up,
        "candidates": run.candidates,
        "samples": run.all_samples,
        "sweep": run.sweep,
        "work": run.work,
    }
    there = {name: path for name, path in paths.items() if name not in keep and (path.exists() or bytes_of(path))}
    return [Part(name, PARTS[name], path, bytes_of(path) or size_of(path)) for name, path in there.items()]


def purge(run: Run, parts: Sequence[Part]) -> None:
    """Remove them, in the bucket too, once it is written down that they go: a killed purge is not a broken run.

    Args:
        run: whose they are.
        parts: from `purgeable`.
    """
    gone = sorted({*purged(run), *(part.name for part in parts)})
    keep_json(run.purged, {"removed": gone})
    discard(*(part.path for part in parts))


def purged(run: Run) -> list[str]:
    """The parts of a run that were removed."""
    if not run.purged.exists():
        return []
    return list(json.loads(run.purged.read_text(encoding="utf-8"))["removed"])
