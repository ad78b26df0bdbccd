"""Images in: from files in any form that `pd` reads, and from what a notebook holds."""

import atexit
import io
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console

from pd.config import DataSettings, Settings, parse_settings
from pd.dataset.decode import BadImage, decode, quiet
from pd.dataset.external import part, read_images
from pd.dataset.images import encode_png
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.dataset.readable import Readable, bring_in, reading
from pd.dataset.readers.guess import guess
from pd.dataset.readers.identity import EACH
from pd.dataset.schema import IMAGE
from pd.dataset.synthetic import SyntheticDataset
from pd.errors import UserError
from pd.progress import Reporter
from pd.seeds import derive
from pd.store.places import Place

_CHUNK = 256  # pictures encoded and written at once
_COLUMN = "image"  # of a datasets.Dataset


def load_people(
    source: Any,
    *,
    identities: Sequence[str] | str | None = None,
    splits: Sequence[str] | str | None = None,
    captions: Sequence[str] | str | None = None,
    labels: Mapping[str, Sequence[Any]] | None = None,
    size: int = 32,
    mode: str = "grey",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> PrivateDataset:
    """Read images of people, and split the people into members and hold-out.

    Args:
        source: a path that `pd` reads (a folder per person, a table, DICOM, a saved Dataset, tar shards, `s3://...`), or
            images: an array (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8, a sequence of PIL images or of such arrays, or a
            `datasets.Dataset`.
        identities: of images: who is in each, N names, or the Dataset's column. Not for a path, which tells by itself.
        splits: `member` or `holdout` for each image, or the Dataset's column; None: half of the people are held out, by seed.
        captions: what each image shows, or the Dataset's column; None: the same sentence for all.
        labels: name -> N values, such as `{"smiling": [0, 1, ...]}`.
        size: images become squares of so many pixels.
        mode: `grey` or `rgb`.
        seed: decides who is held out.
        settings: further keys of `data`, such as `{"columns": {"identity": "patient"}}`.

    Returns:
        The data set. Its pixels are in memory up to 64 MiB, and else in a temporary file that goes with this process.

    Raises:
        UserError: nothing readable, too few people, a bad image, or lists of different lengths.
    """
    home = Path(tempfile.mkdtemp(prefix="pd-people-"))
    try:
        given: dict[str, Any] = {"size": size, "mode": mode, **(settings or {})}
        if isinstance(source, str | Path):
            if identities is not None or splits is not None or captions is not None or labels is not None:
                fix = "map columns by settings={'columns': {...}}, or give the images themselves"
                raise UserError(
                    "identities, splits, captions and labels are for images in memory",
                    code="bad-options",
                    where="load_people",
                    fix=fix,
                )
            known = {"reader", "preset"} & set(given)
            given = {"path": str(source), **({} if known else guess(str(source))), **given}
        else:
            table = home / "people.parquet"
            if labels is not None and not isinstance(labels, Mapping):
                raise UserError(
                    "labels have no names", code="bad-options", where="labels", fix="write labels={'smiling': values}"
                )
            beside = {"identities": identities, "splits": splits, "captions": captions, **(labels or {})}
            _write(source, beside, table)
            given = {"path": str(table), "reader": "manifest", **given}
        data = parse_settings({"seed": seed, "data": given}, where="load_people").data
        try:
            report = ingest(data, derive(seed, "split"), home / "dataset")
        except UserError as error:
            raise _of_the_call(error, home) from None
        found = replace(PrivateDataset.open(home / "dataset"), split_drawn=report.split_drawn)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    if isinstance(found.images, np.ndarray):
        shutil.rmtree(home, ignore_errors=True)
    else:
        atexit.register(shutil.rmtree, home, ignore_errors=True)
    return found


def load_images(
    source: Any,
    *,
    prompts: Sequence[str] | str | None = None,
    size: int = 32,
    mode: str = "grey",
    limit: int | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> SyntheticDataset:
    """Read images that some generator made.

    Args:
        source: a folder of images, Parquet with a column `image`, tar shards, or any other form that `pd` reads (a table,
            DICOM, a saved Dataset, clips), here or at `s3://`; or images as for `load_people`.
        prompts: of images in memory: what each was asked to show, or the Dataset's column.
        size: of the people that they are compared with.
        mode: of the people that they are compared with.
        limit: so many of them, drawn by seed; None: all.
        seed: of the draw.
        settings: further keys of `data`, such as `{"preset": "nih_chestxray14"}` or `{"columns": {"image": "file"}}`.

    Raises:
        UserError: nothing readable, or a bad image.
    """
    data = parse_settings({"data": {"size": size, "mode": mode, **(settings or {})}}, where="load_images").data
    rows: np.ndarray[Any, np.dtype[np.int64]]
    if isinstance(source, str | Path):
        if prompts is not None:
            raise UserError(
                "prompts are for images in memory", code="bad-options", where="load_images", fix="write them beside the images"
            )
        place = Place.parse(str(source))
        how = reading(place, data)
        how = how and how.model_copy(update={"identity_from": how.identity_from or EACH})  # nobody asks who is in them
        with tempfile.TemporaryDirectory(prefix="pd-images-") as home:
            draw = None if limit is None else (limit, seed)
            given = Readable.as_it_lies(place) if how is None else bring_in(place, how, Path(home, "images"), draw=draw)
            listed = given.images.take(drawn(len(given.images), limit, seed))
            with quiet():
                names, pixels, _ = part(read_images(given.place, listed, data), data)
            said, numbers = given.texts(listed)
        at = {name: row for row, name in enumerate(listed.ids)}
        rows = np.array([at[name] for name in names], np.int64)
        return SyntheticDataset(names, pixels, [said[row] for row in rows], {key: told[rows] for key, told in numbers.items()})
    images, columns = _unpack(source, {"prompts": prompts})
    rows = drawn(len(images), limit, seed)
    with quiet():
        pixels = np.stack([_decoded(images[int(row)], int(row), data) for row in rows])
    asked = columns.get("prompts") or [""] * len(images)
    return SyntheticDataset([str(row) for row in rows], pixels, [str(asked[int(row)]) for row in rows], {})


def settings_of(given: Mapping[str, Any] | None, seed: int, where: str, people: PrivateDataset | None = None) -> Settings:
    """Settings from keys such as `{"reid.steps": 300}`; data come from elsewhere, at the size and mode of `people`.

    Raises:
        UserError: an unknown key, or a wrong value.
    """
    data: dict[str, Any] = {"path": ".", "reader": "folder"}
    if people is not None:
        _, side, _, channels = people.images.shape
        data |= {"size": side, "mode": "rgb" if channels == 3 else "grey"}
    tree = {"seed": seed, "data": data}
    try:
        return parse_settings(tree, as_overrides(given), where=where)
    except UserError as error:
        raise UserError(
            error.what, code=error.code, where=where if error.where == "--set" else error.where, fix=error.fix
        ) from None


def as_overrides(given: Mapping[str, Any] | None) -> list[str]:
    """`{"teacher.steps": 200}` as `teacher.steps=200`, which settings take; JSON is YAML."""
    return [f"{key}={json.dumps(value)}" for key, value in (given or {}).items()]


def _of_the_call(error: UserError, home: Path) -> UserError:
    """An error about a temporary file as one about the images that were given."""
    if not (error.where or "").startswith(str(home)):
        return error
    _, _, row = (error.where or "").partition(", row ")
    return UserError(
        error.what, code=error.code, where=f"image {int(row) - 1}" if row.isdigit() else "load_people", fix=error.fix
    )


def drawn(count: int, limit: int | None, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """All rows, or `limit` of them in order."""
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])


def _unpack(source: Any, columns: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Sequence[Any]]]:
    """The images, and the values beside each that were given, by column names where the source is a Dataset.

    Raises:
        UserError: no image, no such column, or another number of values than of images.
    """
    found: dict[str, Sequence[Any]] = {}
    names = getattr(source, "column_names", None)
    if isinstance(names, Mapping):
        first = next(iter(names), "train")
        raise UserError("this is a DatasetDict", code="bad-value", fix=f"pick one of its splits, such as dataset['{first}']")
    images: Any
    if names is not None:
        if _COLUMN not in names:
            raise UserError(
                f"the Dataset has no column '{_COLUMN}'; it has {', '.join(names)}",
                code="no-such-column",
                fix="rename the column of images",
            )
        images = source[_COLUMN]
    elif isinstance(source, np.ndarray) or (isinstance(source, Sequence) and not isinstance(source, str | bytes)):
        images = source
    else:
        what = f"a {type(source).__name__} holds no images"
        raise UserError(
            what, code="bad-value", fix="give a path, an array, a list of PIL images or arrays, or a datasets.Dataset"
        )
    for key, values in columns.items():
        if isinstance(values, str):
            if names is None:
                raise UserError(
                    f"'{values}' names no column: the images are no Dataset",
                    code="no-such-column",
                    where=key,
                    fix="give a list",
                )
            if values not in names:
                raise UserError(
                    f"no column '{values}'; it has {', '.join(names)}",
                    code="no-such-column",
                    where=key,
                    fix="name one of them, or give a list",
                )
            found[key] = source[values]
        elif values is not None:
            found[key] = values
    if not len(images):
        raise UserError("no image", code="no-images", fix="give at least one")
    if isinstance(images, np.ndarray) and (images.ndim == 2 or (images.ndim == 4 and images.shape[3] not in (1, 3))):
        known = "one image" if images.ndim == 2 else "channels do not come last"
        raise UserError(
            f"an array of shape {images.shape}: {known}", code="bad-image", fix="give (N, H, W), (N, H, W, 1) or (N, H, W, 3)"
        )
    if isinstance(images[0], str | Path):
        raise UserError("a list of paths", code="bad-value", fix="give the folder, or open the files with PIL")
    for key, values in found.items():
        if len(values) != len(images):
            raise UserError(
                f"{len(values)} values for {len(images)} images", code="bad-value", where=key, fix="give one for each image"
            )
    return images, found


_NAMES = {"identities": "identity", "splits": "split", "captions": "caption"}


def _write(source: Any, columns: Mapping[str, Any], out: Path) -> None:
    """Images in memory as a table that the reader `manifest` reads."""
    images, found = _unpack(source, columns)
    if "identities" not in found:
        names = getattr(source, "column_names", None)
        fix = f"name the Dataset's column: {', '.join(names)}" if names else "give a name for each image"
        raise UserError("nobody says who is in each image", code="bad-options", where="identities", fix=fix)
    for row, name in enumerate(found["identities"]):
        if name is None or name != name or not str(name).strip():
            raise UserError(
                "no identity", code="bad-row", where=f"identities, image {row}", fix="name the person, or leave the image out"
            )
    found["identities"] = [str(name) for name in found["identities"]]
    writer: pq.ParquetWriter | None = None
    beside = pa.table({_NAMES.get(key, key): pa.array(list(values)) for key, values in found.items()})
    try:
        for start in range(0, len(images), _CHUNK):
            stop = min(start + _CHUNK, len(images))
            encoded = [{"bytes": _encoded(images[row], row), "path": f"{row:08d}.png"} for row in range(start, stop)]
            table = beside.slice(start, stop - start).add_column(0, _COLUMN, pa.array(encoded, IMAGE))
            writer = writer or pq.ParquetWriter(out, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _encoded(image: Any, row: int) -> bytes:
    """A picture in memory as PNG.

    Raises:
        UserError: neither a PIL image nor an array of bytes.
    """
    if isinstance(image, Image.Image):
        if image.mode in ("F", "I"):
            fix = "bring the pixels to 0 to 255 and convert them to L or RGB"
            raise UserError(f"a PIL image of mode {image.mode}", code="bad-image", where=f"image {row}", fix=fix)
        buffer = io.BytesIO()
        plain = image if image.mode in ("L", "RGB", "I;16") else image.convert("L" if image.mode in ("1", "LA") else "RGB")
        plain.save(buffer, "PNG")
        return buffer.getvalue()
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3):
        fix = "give (H, W), (H, W, 1) or (H, W, 3) uint8"
        if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
            fix = "multiply by 255 and cast to uint8"
        raise UserError(f"an array of {array.dtype}, shape {array.shape}", code="bad-image", where=f"image {row}", fix=fix)
    return encode_png(array)


def _decoded(image: Any, row: int, data: DataSettings) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture in memory at the size and in the mode of the people."""
    try:
        return decode(_encoded(image, row), data).pixels
    except BadImage as bad:
        raise UserError(str(bad), code="bad-image", where=f"image {row}", fix="leave it out") from None


def as_images(source: Any, people: PrivateDataset, *, limit: int | None = None, seed: int = 0) -> SyntheticDataset:
    """Images at the people's size and mode; what `load_images` gave stays as it is."""
    if isinstance(source, SyntheticDataset):
        return source
    _, side, _, channels = people.images.shape
    return load_images(source, size=side, mode="grey" if channels == 1 else "rgb", limit=limit, seed=seed)


def as_people(source: Any) -> PrivateDataset:
    """People; a path is read at 32 x 32 pixels, grey."""
    if isinstance(source, PrivateDataset):
        return source
    if isinstance(source, str | Path):
        return load_people(source)
    raise UserError("these are no people", code="bad-value", fix="call load_people(images, identities=...) first")


def reporter(progress: bool) -> Reporter:
    """Shows what is going on, or nothing."""
    return Reporter() if progress else Reporter(Console(file=io.StringIO()))
