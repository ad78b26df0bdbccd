"""Which coverage falls when variety does? Sets of known, shrinking variety, on the embedded faces.

    python benchmarks/coverage.py           # about half a minute
    python benchmarks/coverage.py --last    # print the stored figures without running

Sets of as many pictures as members have: noisy pictures of ever fewer members; means of ever more members' pictures, with
little and with much noise; other people's pictures. Of each set: recall by the samples' own radius (Kynkaanniemi et al. 2019),
which was in use before, and coverage by the real radius (Naeem et al. 2020) with k = 3, which is, and with k = 5, their
default; and the share of members of whom some picture is covered.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from harness import print_last, store
from rich.console import Console
from rich.table import Table

from pd.audit.features import Bundled
from pd.config import DataSettings
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset

Rows = np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    if parser.parse_args().last:
        print_last("coverage")
        return
    with tempfile.TemporaryDirectory() as folder:
        ingest(DataSettings(), 7, Path(folder))
        everybody = PrivateDataset.read(Path(folder))
    members, see = everybody.members(), Bundled().low_passed
    real, people = see(members.images), np.array(members.identities)
    found = {name: measured(real, people, see(images)) for name, images in sets(members, everybody.holdout())}
    table = Table(title="share of members' pictures (of members) covered")
    for heading in ("set", "recall, own radius", "real radius, k = 3", "real radius, k = 5"):
        table.add_column(heading)
    for name, one in found.items():
        table.add_row(name, *(f"{one[key]['images']:.2f} ({one[key]['people']:.2f})" for key in ("recall", "3", "5")))
    Console(width=110).print(table)
    store("coverage", found)


def sets(members: PrivateDataset, others: PrivateDataset) -> Iterator[tuple[str, Rows]]:
    """Name -> (N, H, W, C) uint8."""
    rng, n, people = np.random.default_rng(0), len(members), np.array(members.identities)
    names = np.unique(people)

    def noisy(pictures: Rows, deviation: float) -> Rows:
        return (pictures + rng.normal(0, deviation, pictures.shape)).clip(0, 255).astype(np.uint8)

    for count in (20, 10, 5, 2, 1):
        rows = np.flatnonzero(np.isin(people, names[:count]))
        yield f"{count} people", noisy(members.images[rng.choice(rows, n)], 6)
    for deviation, words in ((6, "means of {} pictures"), (40, "means of {} pictures, much noise")):
        for count in (1, 2, 4, 8, 16):
            drawn = [members.images[rng.permutation(n)].astype(np.float64) for _ in range(count)]
            yield words.format(count), noisy(np.mean(drawn, axis=0), deviation)
    yield "other people", others.images[:n]


def measured(real: Rows, people: Rows, samples: Rows) -> dict[str, dict[str, float]]:
    """The three measures."""
    apart = distances(samples, real)
    hits = {"recall": (apart <= reach(samples, 3)[:, None]).any(axis=0)}
    hits |= {str(k): apart.min(axis=0) <= reach(real, k) for k in (3, 5)}
    names = np.unique(people)
    return {
        key: {"images": float(hit.mean()), "people": float(np.mean([hit[people == name].any() for name in names]))}
        for key, hit in hits.items()
    }


def distances(some: Rows, others: Rows) -> Rows:
    squared = np.square(some).sum(axis=1)[:, None] + np.square(others).sum(axis=1)[None] - 2 * some @ others.T
    return np.maximum(squared, 0)


def reach(rows: Rows, k: int) -> Rows:
    """Squared distance of each to its k-th nearest other."""
    apart = distances(rows, rows)
    np.fill_diagonal(apart, np.inf)
    return np.partition(apart, k - 1, axis=1)[:, k - 1]


if __name__ == "__main__":
    main()
