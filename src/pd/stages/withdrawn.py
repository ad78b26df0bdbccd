"""Which runs learned from a person: what must be made anew when somebody withdraws."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pd.errors import UserError
from pd.store.run import Run


@dataclass(frozen=True)
class Involved:
    """A run that has read images of a person.

    Attributes:
        run: its folder.
        split: `member`: teacher and release come from the person's images, too; `holdout`: only thresholds and audit do.
        images: how many of the person's.
        released: whether it has a release.
    """

    run: Path
    split: str
    images: int
    released: bool


def runs_with(person: str, runs: Path) -> list[Involved]:
    """The runs below a folder that have images of a person, those whose members include him first.

    Args:
        person: the identity, as the data have it.
        runs: a folder of run folders, or one run folder.

    Raises:
        UserError: there is no run.
    """
    folders = [runs] if Run(runs).dataset.is_dir() else sorted(runs.iterdir()) if runs.is_dir() else []
    datasets = [folder for folder in folders if Run(folder).dataset.is_dir()]
    if not datasets:
        raise UserError(
            "no run with a data set here", code="no-run", where=str(runs), fix="name the folder that holds runs: --in runs"
        )
    sought = unicodedata.normalize("NFC", person.strip())
    found = []
    for folder in datasets:
        splits: list[str] = []
        for file in sorted(Run(folder).dataset.glob("*.parquet")):
            table = pq.read_table(file, columns=["identity", "split"])
            splits += table.filter(pc.equal(table["identity"], sought))["split"].to_pylist()
        for split, images in zip(*np.unique(np.array(splits, dtype=str), return_counts=True), strict=True):
            found.append(Involved(folder, str(split), int(images), Run(folder).release.is_dir()))
    return sorted(found, key=lambda one: (one.split != "member", one.run))
