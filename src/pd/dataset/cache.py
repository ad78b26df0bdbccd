"""Anybody's images, decoded once into Parquet that is read as rows are asked for."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pd.config import DataSettings, digest_of
from pd.dataset.decode import BadImage
from pd.dataset.external import Listing, fingerprint, read_images
from pd.dataset.images import Pixels, encode_png
from pd.dataset.parquet_images import ParquetImages
from pd.dataset.schema import IMAGE, image_schema
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.store.atomic import write_folder
from pd.store.files import digest_folder
from pd.store.places import Place

DECODED_BY = {"size", "mode", "resize", "max_pixels", "on_bad_image"}  # settings that pixels follow from
GROUP = 256  # images a row group: what is decoded to read one of them


class Cached:
    """Rows of a `ParquetImages` as arrays: (n, H, W, C) uint8."""

    def __init__(self, images: ParquetImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: npt.NDArray[np.int64]) -> Pixels:
        """(n, H, W, C) uint8."""
        return self.images.take(rows)[:]


def cached_images(
    place: Place, images: Listing, settings: DataSettings, folder: Path, progress: Progress = silent
) -> tuple[Cached, list[str], str]:
    """Decode the images of a place into a folder of `folder`, unless they are there, and open them.

    Other images, files that have changed and other settings are decoded anew; what was there of others is removed.

    Args:
        place: where they lie.
        images: which ones.
        settings: size, mode, resize and what happens to bad images (`on_bad_image`).
        folder: of the cache, and of nothing else; `forget_images` removes it.
        progress: called after each image.

    Returns:
        the images, their names (without those set aside), and a digest of their content.

    Raises:
        UserError: no image can be used, or one cannot and `on_bad_image` is `stop`.
    """
    key = digest_of([str(place), fingerprint(place, images), settings.model_dump(mode="json", include=DECODED_BY)])
    keep_only(folder, key)
    folder = folder / key
    if not folder.exists():
        schema = image_schema([("id", pa.string()), ("image", IMAGE)])
        with write_folder(folder) as aside, pq.ParquetWriter(aside / "part-00000.parquet", schema) as writer:
            rows: list[dict[str, object]] = []
            for number, (name, pixels) in enumerate(read_images(place, images, settings)):
                if not isinstance(pixels, BadImage):
                    rows.append({"id": name, "image": {"bytes": encode_png(pixels), "path": None}})
                if len(rows) == GROUP or number + 1 == len(images):
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows.clear()
                progress(number + 1, len(images), {})
    files = sorted(folder.glob("*.parquet"))
    names = [name for file in files for name in pq.read_table(file, columns=["id"])["id"].to_pylist()]
    if not names:
        raise UserError("no image can be used", code="no-images", where=str(place), fix="mend them, or name another place")
    return Cached(ParquetImages.open(files)), names, digest_folder(folder)


def forget_images(folder: Path) -> None:
    """Remove what `cached_images` decoded into `folder`: it is a copy of images that may be private."""
    shutil.rmtree(folder, ignore_errors=True)


def keep_only(folder: Path, name: str) -> None:
    """Remove all that lies in a folder but what has this name."""
    for item in list(folder.iterdir()) if folder.is_dir() else []:
        if item.name != name:
            shutil.rmtree(item) if item.is_dir() else item.unlink()
