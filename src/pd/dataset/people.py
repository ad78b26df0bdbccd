"""Pictures of people by name, as they are: without members, a split, or a data set on disk. For public sets and recognisers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from pd.config import DataSettings
from pd.dataset.decoding import decoded_rows
from pd.dataset.images import Pixels, to_arrays
from pd.dataset.ingest_report import refuse_bad
from pd.dataset.readers.bucket import fetched
from pd.dataset.readers.choose import open_source
from pd.dataset.readers.identity import EACH
from pd.dataset.readers.manifest import text_of
from pd.dataset.readers.normal import normal
from pd.dataset.readers.source import BadRow, Row
from pd.errors import UserError
from pd.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class People:
    """Pictures with the people, or the things, in them.

    Attributes:
        images: (N, H, W, C) uint8.
        identities: who is in each.
        beside: value of another column of each, in words; empty where there is none.
        digests: of the pictures as they were; equal for equal ones.
        left_out: rows without a value of the column that names.
    """

    images: Pixels
    identities: Sequence[str]
    beside: Sequence[str]
    digests: Sequence[bytes]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.identities)

    def fingerprint(self) -> str:
        """16 hex digits that change with a picture, at the size that it has here, or with a name."""
        whole = sha256(np.ascontiguousarray(self.images).tobytes())
        whole.update("\0".join(self.identities).encode())
        return whole.hexdigest()[:16]

    def where(self, mask: npt.NDArray[np.bool_]) -> "People":
        """The pictures where `mask`, (N,) bool, is true."""
        rows = np.flatnonzero(mask).tolist()
        beside, digests = [self.beside[row] for row in rows], [self.digests[row] for row in rows]
        return People(self.images[rows], [self.identities[row] for row in rows], beside, digests)


def read_people(
    settings: DataSettings, label: str | None = None, beside: str = "source", progress: Progress = silent
) -> People:
    """Read a folder, a manifest, or whatever `settings` name; copies of a picture count once.

    Args:
        settings: where the pictures are, and how they are brought to one size.
        label: a column whose values are the names, in place of people, whom nothing need name then; numbers are written alike
            (1.0 as 1), and rows without a value are left out.
        beside: a column that is kept beside.
        progress: called after each picture.

    Raises:
        UserError: a bad image where `on_bad_image` is `stop`, no such column, no picture, a source that cannot be read.
    """
    if label is not None:
        settings = settings.model_copy(update={"identity_from": EACH})
    unnamed: list[str] = []
    with fetched(settings) as here:
        source = normal(open_source(here))
        if label is not None and label not in source.labels:
            near = ", ".join(source.labels) or "none"
            raise UserError(
                f"no column '{label}'", code="no-such-column", where=source.where, fix=f"its columns of labels: {near}"
            )
        pictures, names, told, bad = [], [], [], []
        digests: dict[bytes, None] = {}
        rows = source.rows() if label is None else _with(label, source.rows(), unnamed)
        for done, item in enumerate(decoded_rows(rows, here), 1):
            progress(done, source.total, {})
            if isinstance(item, BadRow):
                bad.append(item)
                continue
            if item.digest in digests:
                continue
            digests[item.digest] = None
            pictures.append(item.png)
            names.append(item.row.identity if label is None else text_of(item.row.labels[label]))
            told.append(text_of(item.row.labels.get(beside)))
    if settings.on_bad_image == "stop":
        refuse_bad(bad, source.where)
    if not pictures:
        raise UserError("no usable image", code="no-images", where=source.where)
    images = np.concatenate([to_arrays(pictures[at : at + 1024], settings.mode) for at in range(0, len(pictures), 1024)])
    return People(images, names, told, list(digests), len(unnamed))


def _with(label: str, rows: Iterable[Row | BadRow], without: list[str]) -> Iterator[Row | BadRow]:
    """The rows that have a value of the label; those that have none go to `without`."""
    for row in rows:
        if isinstance(row, Row) and not text_of(row.labels.get(label)):
            without.append(row.name)
        else:
            yield row
