"""The labels of a release: columns of its tables and keys of its audit, none of which may be of few people."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pd.dataset.private import PrivateDataset
from pd.dataset.shared import shared, shared_labels
from pd.release.checks import Check, judge

NAME = "every label is shared by enough people"
_LABEL = "label."
_BY_LABEL = ("by_label", "labels", "skipped")  # keys of `audit.json` whose entries go by the names of labels


def check_labels(release: Path, data: PrivateDataset, k: int) -> Check:
    """Labels, and values of them, that fewer than k members carry.

    Args:
        release: the release folder.
        data: the private data set.
        k: members who must carry a label.
    """
    members = data.members()
    allowed = set(shared_labels(members.labels, members.identities, k))
    values = {name: shared(members.labels[name].tolist(), members.identities, k) for name in allowed}
    faults, columns = [], 0
    for path in [path for part in ("data", "condensed/data") for path in sorted((release / part).glob("*.parquet"))]:
        name = path.relative_to(release).as_posix()
        try:
            for label, told in _columns(path):
                columns += 1
                if label not in allowed:
                    faults.append(f"{name}: a column is named after a label of fewer than {k} members")
                elif not told <= values[label]:
                    faults.append(f"{name}: a label has a value of fewer than {k} members")
        except (pa.ArrowException, OSError):
            continue  # named by another check
    if _told(release) - allowed:
        faults.append(f"audit.json speaks of a label of fewer than {k} members")
    return judge(NAME, faults, f"{columns:,} columns of labels, and the audit")


def _columns(path: Path) -> Iterator[tuple[str, set[float]]]:
    """Label -> the values that it has in a table."""
    with pq.ParquetFile(path) as file:
        for name in file.schema_arrow.names:
            if name.startswith(_LABEL):
                column = pc.unique(file.read(columns=[name])[name]).cast(pa.float64(), safe=False).drop_null().to_numpy()
                yield name.removeprefix(_LABEL), set(column[np.isfinite(column)].tolist())


def _told(release: Path) -> set[str]:
    """The labels that the released audit speaks of."""
    try:
        audit = json.loads((release / "audit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return set(_labels_in(audit))


def _labels_in(tree: Any) -> Iterator[str]:
    for key, value in tree.items() if isinstance(tree, Mapping) else ():
        if key in _BY_LABEL and isinstance(value, Mapping | list):
            yield from value
        else:
            yield from _labels_in(value)
