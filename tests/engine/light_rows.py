"""A row function that loads no network, for tests of who makes rows, and when."""

import time
from dataclasses import dataclass

import pyarrow as pa

from pd.config import digest_of
from pd.dataset.images import encode_png
from pd.dataset.mapping import MakeRows, OfImages
from pd.dataset.parquet_images import Images, images_digest
from pd.dataset.schema import IMAGE


@dataclass(frozen=True, eq=False)
class Inverted(OfImages):
    """Images with black for white, as encoded images in the column `image`.

    Args:
        images: (N, H, W, C) uint8.
        seconds: that a batch takes at least.
    """

    images: Images
    seconds: float = 0.0
    batch: int = 64

    @property
    def key(self) -> str:
        return digest_of([images_digest(self.images)])

    def open(self, device: str) -> MakeRows:
        def make(rows: range) -> pa.Table:
            time.sleep(self.seconds)
            structs = [{"bytes": encode_png(255 - image), "path": None} for image in self.images[rows.start : rows.stop]]
            return pa.table({"image": pa.array(structs, IMAGE)})

        return make
