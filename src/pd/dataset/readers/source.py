"""What a reader hands over: rows of undecoded images, good and bad."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from pd.config import DataSettings
from pd.dataset.decode import Decoded, Reason, decode
from pd.progress import printable

SECONDARY = "secondary captures"
"""A kind of `Source.left_out`, which `data.dicom.secondary` decides."""


@dataclass(frozen=True)
class Row:
    """One image as its source lists it.

    Attributes:
        name: what people know it by: its path in the source, or its row.
        number: its row in the manifest, 1 for the first below the header; None where there are no rows.
        key: the path inside the source, which makes the id; None when only the bytes can.
        data: the encoded bytes, or the file that holds them.
        identity: who is in it; empty only where `identity_from` is IF_SAID.
        caption: what it shows, if the source says.
        split: the source's split column, if it has one.
        labels: the source's further columns.
        decode: from the file's bytes to pixels.
    """

    name: str
    number: int | None
    key: str | None
    data: bytes | Path
    identity: str
    caption: str | None = None
    split: str | None = None
    labels: Mapping[str, object] = field(default_factory=dict)
    decode: Callable[[bytes, DataSettings], Decoded] = decode


@dataclass(frozen=True)
class BadRow:
    """An image that cannot be used, and why."""

    name: str
    number: int | None
    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        row = f" (row {self.number})" if self.number is not None and self.name != f"row {self.number}" else ""
        return f"{plain(self.name)}{row}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class Source:
    """Rows to read, once or several times.

    Attributes:
        where: the folder or manifest, for messages.
        total: number of rows.
        labels: name and type of the further columns.
        rows: starts reading.
        has_split: the source says who is a member.
        embedded: the images lie in `files` themselves.
        files: the files that decide what is read, apart from the images (fingerprints look at them).
        ignored: files that are no images by their name, counted by suffix.
        left_out: files that are not pictures of people by what they say of themselves, counted by kind.
        of_clips: what was not taken of clips of video, counted by kind; filled as rows are read.
        notes: what whoever reads them should know.
    """

    where: str
    total: int
    labels: Mapping[str, pa.DataType]
    rows: Callable[[], Iterator[Row | BadRow]]
    has_split: bool = False
    embedded: bool = False
    files: tuple[Path, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    of_clips: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def plain(name: str) -> str:
    """A name fit for one line of a terminal: control characters shown as ?, the middle of a long one left out."""
    text = printable(name)
    return text if len(text) <= 120 else f"{text[:58]}...{text[-58:]}"


def utf8(name: str) -> bool:
    """False for names of bytes that are no text; nothing that is written could hold them."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
