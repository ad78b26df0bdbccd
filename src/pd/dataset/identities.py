"""Identities that look wrong: one person under two names, or two people under one. Reported to the custodian, never changed."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pd.dataset.readers.source import plain
from pd.dataset.worked_out import OBSERVATIONS

SIDE = 16  # of the thumbnails that are compared
_ALIKE, _RESIDUE, _FLAT = 0.98, 3.0, 8.0  # ours: correlation, and grey levels that a copy may differ by, and must vary by
_MOST_PAIRS = 4_000_000_000  # ours: pairs of thumbnails that are compared; of more, evenly spaced hold-out images
_STEADY = 0.9  # ours: how much more often than by chance all images of a person agree in a label that is the person's
_MANY = 10  # ours: people with several images, from which that can be told by their share
_FEW, _BY_CHANCE = 2, 1e-3  # ours: so few who disagree are named, too, where chance would leave no more than that this rarely
_NAMED = 5


def contradictions(folder: Path) -> list[str]:
    """A line for each label that is the same in all images of nearly everybody, but not of some people.

    Args:
        folder: what `ingest` wrote.
    """
    files = sorted(folder.glob("part-*.parquet"))
    schema = pq.read_schema(files[0])
    own = ("id", "image", "identity", "split", "caption")
    lines = []
    for field in schema:
        if field.name in own or pa.types.is_null(field.type):
            continue
        table = pa.concat_tables([pq.read_table(file, columns=["identity", field.name]) for file in files])
        # a name such as `.a` would be taken for a path into a column
        table = table.rename_columns(["who", "value"]).filter(pc.is_valid(table.column(1)))
        table = _said(table, field.name)
        groups = table.group_by("who").aggregate([("value", "count"), ("value", "count_distinct")])
        groups = groups.filter(pc.greater(groups["value_count"], 1))
        if not groups.num_rows:
            continue
        counts = groups["value_count"].to_numpy()
        agree = groups["value_count_distinct"].to_numpy() == 1
        values = np.array([item["counts"] for item in pc.value_counts(table["value"]).to_pylist()], np.float64)
        shares = values / values.sum()
        chance = float(np.mean([(shares**count).sum() for count in counts]))
        if chance < 1 and not agree.all() and _is_steady(int((~agree).sum()), len(agree), chance):
            people = sorted(groups["who"].filter(pa.array(~agree)).to_pylist())
            what = f"people have images that disagree in '{plain(field.name)}', which others' do not"
            lines.append(f"{len(people)} {what}: {_some([plain(name) for name in people])}")
    return lines


def _said(table: pa.Table, name: str) -> pa.Table:
    """The rows whose value says something: no blank text, no NaN; none of measurements, and of what a report labeler says."""
    kind = table["value"].type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return table.filter(pc.not_equal(pc.utf8_trim_whitespace(table["value"]), ""))
    if pa.types.is_floating(kind):
        table = table.filter(pc.is_finite(table["value"]))
        whole = pc.all(pc.equal(table["value"], pc.round(table["value"]))).as_py()
        return table if whole and name not in OBSERVATIONS else table.slice(0, 0)
    return table


def _is_steady(disagree: int, people: int, chance: float) -> bool:
    """Whether a label is the person's, though some people's images disagree.

    Args:
        disagree: people whose images do, at least 1.
        people: with several images.
        chance: share of people whose images would agree by chance.
    """
    if people >= _MANY and 1 - disagree / people >= chance + _STEADY * (1 - chance):
        return True
    if disagree > _FEW or 2 * disagree > people:
        return False
    no_more = sum(math.comb(people, n) * (1 - chance) ** n * chance ** (people - n) for n in range(disagree + 1))
    return no_more < _BY_CHANCE


def across(thumbnails: npt.NDArray[np.uint8], identities: Sequence[str], holdout: npt.NDArray[np.bool_]) -> list[str]:
    """A line for near-copies of which a member and a hold-out person have one each: one person under two names, perhaps.

    Two pictures are near-copies where, after the best gain and offset, they differ by few grey levels, mirrored or not.

    Args:
        thumbnails: (N, SIDE * SIDE) uint8.
        identities: N names.
        holdout: (N,) bool.
    """
    members, held = np.flatnonzero(~holdout), np.flatnonzero(holdout)
    step = max(1, -(-len(members) * len(held) // _MOST_PAIRS))
    held = held[::step]
    if not len(members) or not len(held):
        return []
    rows, spread = _normed(thumbnails[members])
    found: dict[tuple[str, str], None] = {}
    for start in range(0, len(held), 512):
        part = held[start : start + 512]
        images = thumbnails[part].reshape(-1, SIDE, SIDE)
        likeness = np.full((len(part), len(members)), -1.0, np.float32)
        own = np.zeros(len(part), np.float32)
        for view in (images, images[:, :, ::-1]):
            asked, own = _normed(view.reshape(len(part), -1))
            np.maximum(likeness, asked @ rows.T, out=likeness)
        residue = np.minimum(own[:, None], spread[None]) * np.sqrt(np.clip(1 - likeness**2, 0, 1))
        varied = (own[:, None] >= _FLAT) & (spread[None] >= _FLAT)
        for query, row in zip(*np.nonzero((likeness >= _ALIKE) & (residue <= _RESIDUE) & varied), strict=True):
            found[identities[members[row]], identities[part[query]]] = None
    if not found:
        return []
    names = [f"{plain(member)} and {plain(other)}" for member, other in found]
    what = (
        "members and hold-out people have nearly the same picture; they are one person under two names, or will look like leaks"
    )
    return [f"{len(found)} times {what}: {_some(names)}"]


def _normed(images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(N, d) float32 of mean 0 and length 1, and (N,) standard deviations in grey levels."""
    values = images.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    spread = values.std(axis=1)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6), spread


def _some(names: Sequence[str]) -> str:
    more = f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return "; ".join(names[:_NAMED]) + more
