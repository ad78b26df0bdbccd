"""The candidates' scores as arrays: what a trial compares with its thresholds. No pixel is read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pd.config import FilterSettings
from pd.errors import UserError
from pd.filters.decide import Thresholds, margin
from pd.filters.duplicate import repeated
from pd.filters.table import FAMILY, FURTHER, LABEL, families_of, further_of, read_table

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Cached:
    """N candidates in the order of their ids.

    Attributes:
        score: (N,) float32, re-identification.
        further: (N, K - 1) float32, the same by further networks.
        near_copy: (N,) float32.
        families: learned space -> (N,) float32.
        duplicate: (N,) bool, the pixels of an earlier one.
        prompt: (N,) int32, index into `prompts`.
        prompts: the prompts.
        person: (N,) int32, index of the member whom the nearest image shows; -1 where that is not known.
        people: how many members there are.
        labels: name -> (N,) int8, 1 yes, 0 no, -1 neither.
    """

    score: npt.NDArray[np.float32]
    further: npt.NDArray[np.float32]
    near_copy: npt.NDArray[np.float32]
    families: Mapping[str, npt.NDArray[np.float32]]
    duplicate: Mask
    prompt: npt.NDArray[np.int32]
    prompts: tuple[str, ...]
    person: npt.NDArray[np.int32]
    people: int
    labels: Mapping[str, npt.NDArray[np.int8]]

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def read(cls, files: Sequence[Path], identity_of: Mapping[str, str]) -> "Cached":
        """From shards with the columns of `pd.filters.table.SCORED`; images are left where they are.

        Args:
            files: in the order of ids.
            identity_of: id of each member image -> who is in it.

        Raises:
            UserError: there is no shard, or one lacks a column.
        """
        if not files:
            raise UserError("no scored candidates", code="no-images", fix="`pd generate` first")
        table = pa.concat_tables([_read(file) for file in files])
        prompt, nearest = (table[name].combine_chunks().dictionary_encode() for name in ("prompt", "nearest"))
        people = {name: index for index, name in enumerate(sorted(set(identity_of.values())))}
        person = [people[identity_of[name]] if name in identity_of else -1 for name in nearest.dictionary.to_pylist()]
        further = [table[name].to_numpy() for name in further_of(table)]
        return cls(
            score=table["score"].to_numpy(),
            further=np.column_stack([np.empty((len(table), 0), np.float32), *further]),
            near_copy=table["near_copy"].to_numpy(),
            families={name: table[f"{FAMILY}{name}"].to_numpy() for name in families_of(table)},
            duplicate=repeated(table["pixels_sha"].to_pylist()),
            prompt=prompt.indices.to_numpy(),
            prompts=tuple(prompt.dictionary.to_pylist()),
            person=np.asarray(person, np.int32)[nearest.indices.to_numpy()],
            people=len(people),
            labels={name.removeprefix(LABEL): _yes_or_no(table[name]) for name in table.column_names if name.startswith(LABEL)},
        )

    def first(self, n: int) -> "Cached":
        """The first n candidates: those that would be there, had no more been asked for."""
        rows = slice(0, n)
        return Cached(
            self.score[rows],
            self.further[rows],
            self.near_copy[rows],
            {name: values[rows] for name, values in self.families.items()},
            self.duplicate[rows],
            self.prompt[rows],
            self.prompts,
            self.person[rows],
            self.people,
            {name: values[rows] for name, values in self.labels.items()},
        )

    def keep(self, settings: FilterSettings, thresholds: Thresholds, prompts: Collection[str]) -> Mask:
        """Which candidates stay, (N,): as `pd.filters.decide` decides, without its reasons, which take longer than all else.

        Near-duplicates (`filter.near_duplicate`) stay: which of them go depends on what else is kept.

        Args:
            settings: which checks are on.
            thresholds: of the likenesses.
            prompts: the captions that enough people share.
        """
        keep = np.ones(len(self), dtype=bool)
        if settings.prompt:
            keep &= np.array([text in prompts for text in self.prompts], dtype=bool)[self.prompt]
        if settings.reid and self.further.shape[1]:
            keep &= margin(self.score, self.further, thresholds, settings.vote) < 0
        elif settings.reid:  # one network: there is no vote to sort
            keep &= self.score - np.float32(thresholds.reid) < 0
        if settings.near_copy:
            keep &= self.near_copy < thresholds.near_copy
        for name, limit in thresholds.families.items():
            keep &= self.families[name] < limit
        if settings.duplicate:
            keep &= ~self.duplicate
        return keep

    def kept_share(self, keep: Mask) -> float:
        """Share of the candidates."""
        return float(keep.mean())

    def coverage(self, keep: Mask) -> float:
        """Share of members whom a kept candidate is nearest to: whom the kept set still resembles, if only a little."""
        person = self.person[keep]
        return float(np.count_nonzero(np.bincount(person[person >= 0], minlength=self.people)) / self.people)

    def balance(self, keep: Mask) -> float | None:
        """Kept share of those with, or without, the label that the filter hits hardest, over that of all; at most 1.

        None without labels, or where nothing is kept.
        """
        overall = keep.mean()
        if not self.labels or not overall:
            return None
        shares = [1.0]
        for values in self.labels.values():
            there, kept = (np.bincount(some + 1, minlength=3)[1:] for some in (values, values[keep]))
            shares += [float(k / n / overall) for k, n in zip(kept, there, strict=True) if n]
        return min(shares)


def _read(file: Path) -> pa.Table:
    names = pq.read_schema(file).names
    wanted = ("score", "near_copy", "nearest", "prompt", "pixels_sha")
    if lacking := [name for name in wanted if name not in names]:
        raise UserError(
            f"no column '{lacking[0]}' of scored images",
            code="no-such-column",
            where=str(file),
            fix="generate this shard again",
        )
    return read_table(file, [*wanted, *(name for name in names if name.startswith((FURTHER, FAMILY, LABEL)))])


def _yes_or_no(column: pa.ChunkedArray) -> npt.NDArray[np.int8]:
    """1, 0, or -1 for what is neither."""
    known: npt.NDArray[np.float64] = pc.fill_null(column, -1.0).to_numpy()
    return np.where((known == 0) | (known == 1), known, -1).astype(np.int8)
