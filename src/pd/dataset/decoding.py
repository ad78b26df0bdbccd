"""Decoding a source's rows on all cores, in order, a few at a time."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256

from PIL import Image

from pd.config import DataSettings
from pd.dataset.decode import BadImage, load, quiet
from pd.dataset.identities import SIDE
from pd.dataset.images import Pixels, encode_png
from pd.dataset.readers.source import BadRow, Row

MOST_ENLARGED = 2.0  # an image that must grow more is bad: three of four of its pixels would be made up


@dataclass(frozen=True)
class Good:
    """A usable image.

    Attributes:
        row: as the source lists it.
        id: 16 hex digits that name it, from its identity and its path (or its bytes, where it has no path).
        png: the resized image.
        digest: equal for equal pictures.
        growth: how many times longer its sides became; below 1: it was larger than `data.size`.
        coloured: it had colours, and `data.mode` is grey.
        thumbnail: SIDE * SIDE grey levels, uint8.
    """

    row: Row
    id: str
    png: bytes
    digest: bytes
    growth: float
    coloured: bool
    thumbnail: bytes


def decoded_rows(rows: Iterable[Row | BadRow], settings: DataSettings) -> Iterator[Good | BadRow]:
    """Each row decoded and resized, in the order of the rows; Pillow works outside the interpreter's lock."""
    workers = min(os.cpu_count() or 1, 8)
    waiting: deque[Future[Good | BadRow] | BadRow] = deque()
    with quiet(), ThreadPoolExecutor(workers) as pool:
        for row in rows:
            waiting.append(pool.submit(decode_row, row, settings) if isinstance(row, Row) else row)
            if len(waiting) > 2 * workers:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())


def decode_row(row: Row, settings: DataSettings) -> Good | BadRow:
    """One row decoded and resized; a BadRow says why it cannot be used."""
    try:
        data = load(row.data, settings)
        decoded = row.decode(data, settings)
        growth = decoded.enlarged(settings)
        if growth > MOST_ENLARGED:
            raise BadImage("too small", f"{decoded.width}x{decoded.height} pixels, data.size is {settings.size}")
    except BadImage as bad:
        return BadRow(row.name, row.number, bad.reason, bad.detail)
    thumbnail = _thumbnail(decoded.pixels)
    png = encode_png(decoded.pixels)
    return Good(row, id_of(row, data), png, decoded.digest, growth, decoded.coloured, thumbnail)


def id_of(row: Row, data: bytes) -> str:
    """16 hex digits that name an image; `data` are its encoded bytes, which count where it has no path."""
    key = row.key if row.key is not None else f"sha256:{sha256(data).hexdigest()}"
    return sha256(f"{row.identity}\0{key}".encode()).hexdigest()[:16]


def _thumbnail(pixels: Pixels) -> bytes:
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()


def _result(item: Future[Good | BadRow] | BadRow) -> Good | BadRow:
    return item if isinstance(item, BadRow) else item.result()
