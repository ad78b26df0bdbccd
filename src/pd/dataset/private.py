"""The private images of a run: words, numbers and a way to the pixels.

No function that makes something for release takes this type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pd.dataset.parquet_images import BLOCK_BYTES, Images, ParquetImages, held_bytes, rows_of
from pd.dataset.splits import hash_order
from pd.errors import UserError

Split = Literal["member", "holdout"]
Labels = Mapping[str, npt.NDArray[np.float64]]

COLUMNS = ("id", "image", "identity", "split", "caption")
MAX_CATEGORIES = 10
CLIP = "clip_id"  # the column that names the clip of video that a picture comes from; it is no label


@dataclass(frozen=True, eq=False, repr=False)
class PrivateDataset:
    """Real images with the people in them.

    Attributes:
        ids: stable names of the images.
        images: (N, H, W, C) uint8, in memory, or in the files that they were opened from.
        identities: who is in each image.
        splits: `member` (a generator may learn from it) or `holdout` (no generator sees it); one for each identity.
        captions: what the image shows, in words.
        labels: name -> (N,) float64, NaN where missing; values that hold-out people alone have make no label.
        texts: name -> N values of each column of text, whether labels were made of it or not; None where missing.
        split_drawn: nobody said who is a member, so that it was drawn at random. False where that is not known.
    """

    ids: list[str]
    images: Images
    identities: list[str]
    splits: list[Split]
    captions: list[str]
    labels: Labels
    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    split_drawn: bool = False

    @classmethod
    def read(cls, folder: Path) -> "PrivateDataset":
        """What `ingest` wrote into `folder`, with all pixels in memory: for small sets alone."""
        files = _files(folder)
        return cls._around(ParquetImages.open(files)[:], files)

    @classmethod
    def open(cls, folder: Path) -> "PrivateDataset":
        """The same, but more than BLOCK_BYTES of pixels stay in their files until they are asked for."""
        files = _files(folder)
        images = ParquetImages.open(files)
        return cls._around(images[:] if held_bytes(images) <= BLOCK_BYTES else images, files)

    @classmethod
    def read_words(cls, folder: Path) -> "PrivateDataset":
        """All but the pixels: `images` are of 0 x 0, for who need not hold a million to know what is said of them."""
        files = _files(folder)
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        return cls._around(np.zeros((rows, 0, 0, 1), np.uint8), files)

    @classmethod
    def member_images(cls, folder: Path) -> ParquetImages:
        """The pixels of `read_words(folder).members()`, left in their files until they are asked for."""
        files = _files(folder)
        splits = np.concatenate([pq.read_table(file, columns=["split"])["split"].to_numpy() for file in files])
        return ParquetImages.open(files).take(np.flatnonzero(splits == "member"))

    @classmethod
    def _around(cls, images: Images, files: list[Path]) -> "PrivateDataset":
        names = [name for name in pq.read_schema(files[0]).names if name != "image"]
        table = pa.concat_tables([pq.read_table(file, columns=names) for file in files])
        text = {name: table[name].to_pylist() for name in COLUMNS if name != "image"}
        further = table.drop_columns([name for name in COLUMNS if name != "image"])
        return cls(
            ids=text["id"],
            images=images,
            identities=text["identity"],
            splits=text["split"],
            captions=text["caption"],
            labels=labels_of(further, pc.equal(table["split"], "member")),
            texts={name: further[name].to_pylist() for name in further.column_names if _is_text(further[name].type)},
        )

    def __repr__(self) -> str:
        """Counts alone: notebooks are saved with what they show."""
        people = {
            split: len({who for who, side in zip(self.identities, self.splits, strict=True) if side == split})
            for split in ("member", "holdout")
        }
        return f"PrivateDataset({len(self)} images of {people['member']} members and {people['holdout']} hold-out people)"

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, mask: Sequence[bool] | npt.NDArray[np.bool_]) -> "PrivateDataset":
        """The images where `mask`, (N,) bool, is true."""
        rows = np.asarray(mask, dtype=bool)
        if rows.shape != (len(self),):
            raise ValueError(f"expected a mask of {len(self)} rows, got {rows.shape}")
        index = np.flatnonzero(rows)
        return PrivateDataset(
            ids=[self.ids[i] for i in index],
            images=rows_of(self.images, index),
            identities=[self.identities[i] for i in index],
            splits=[self.splits[i] for i in index],
            captions=[self.captions[i] for i in index],
            labels={name: values[index] for name, values in self.labels.items()},
            texts={name: [values[int(i)] for i in index] for name, values in self.texts.items()},
            split_drawn=self.split_drawn,
        )

    def members(self) -> "PrivateDataset":
        """Images of the people whom generators may learn from."""
        return self.where([split == "member" for split in self.splits])

    def holdout(self) -> "PrivateDataset":
        """Images of the people whom no generator sees."""
        return self.where([split == "holdout" for split in self.splits])

    def holdout_half(self, role: Literal["calibration", "audit"], seed: int) -> "PrivateDataset":
        """One half of the hold-out people; the two roles never share a person.

        Args:
            role: `calibration` sets the filter's threshold and trains attackers; `audit` has the attackers' strangers.
            seed: the run's.

        Raises:
            UserError: fewer than 4 hold-out identities.
        """
        held = self.holdout()
        order = hash_order(held.identities, seed, "holdout-half")
        if len(order) < 4:
            raise UserError(
                f"{len(order)} hold-out identities; calibration and audit need 2 each, and never the same",
                code="too-few-people",
                where="data.holdout",
                fix="hold out more people, or add people",
            )
        half = order[: len(order) // 2] if role == "calibration" else order[len(order) // 2 :]
        people = set(half)
        return held.where([identity in people for identity in held.identities])


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise UserError("no private dataset here", code="no-run", where=str(folder), fix="run `pd ingest` first")
    return files


def labels_of(table: pa.Table, member: pa.ChunkedArray) -> dict[str, npt.NDArray[np.float64]]:
    """Numeric and boolean columns as they are; a text column of few values becomes a 0/1 label for each value.

    Members decide: a column, or a value, that no member has makes no label.
    """
    labels: dict[str, npt.NDArray[np.float64]] = {}
    for name in table.column_names:
        if name == CLIP:
            continue
        column = table[name]
        of_members = column.filter(member)
        kind = column.type
        if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
            if of_members.null_count < len(of_members):
                labels[name] = _floats(column)
        elif _is_text(kind) and len(set(column.to_pylist()) - {None, ""}) <= MAX_CATEGORIES:
            known = pc.if_else(pc.equal(column, ""), None, column)
            for value in sorted(set(of_members.to_pylist()) - {None, ""}):
                labels[f"{name}={value}"] = _floats(pc.equal(known, value))
    return labels


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """(N,) float64, NaN for null."""
    floats: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
    return floats
