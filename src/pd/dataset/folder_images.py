"""Images that somebody else made, in any nested folder: for `pd filter` and `pd audit` on foreign generators."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pd.config import DataSettings
from pd.dataset.decode import BadImage, decode, load, quiet
from pd.dataset.images import Pixels
from pd.dataset.ingest_report import counted
from pd.dataset.readers.folder import image_names
from pd.dataset.readers.paths import inside
from pd.dataset.readers.source import BadRow, plain
from pd.errors import UserError


@dataclass(frozen=True, eq=False)
class NamedImages:
    """Decoded images.

    Attributes:
        names: relative paths of the usable images.
        images: (N, size, size, C) uint8.
        bad: the images set aside.
    """

    names: list[str]
    images: Pixels
    bad: list[BadRow]


def folder_images(path: Path) -> list[tuple[str, bytes]]:
    """(relative path, bytes) of every image below `path`, by suffix and in order; hidden files are left out.

    Raises:
        UserError: no such folder, no image in it, or a file that is missing, too large or a link that leads out.
    """
    root = path.resolve()
    found: list[tuple[str, bytes]] = []
    for name in image_names(path, Counter()):
        file = inside(root, name)
        if file is None:
            raise UserError("a link that leads out of the folder", where=plain(f"{path}/{name}"), fix="copy the image instead")
        try:
            found.append((name, load(file, DataSettings())))
        except BadImage as bad:
            if bad.reason != "empty":  # decode_images counts empty ones with the other damage
                raise UserError(str(bad), where=plain(f"{path}/{name}")) from None
            found.append((name, b""))
    if not found:
        raise UserError("no image in this folder", where=str(path), fix="check the path")
    return found


def decode_images(files: Iterable[tuple[str, bytes]], settings: DataSettings, where: str) -> NamedImages:
    """Decode and resize as `settings` say.

    Args:
        files: what `folder_images` found.
        settings: size, mode, resize, max_pixels and on_bad_image count.
        where: the folder, for messages.

    Raises:
        UserError: a bad image where `on_bad_image` is `stop` (the first is named, all are counted), or no usable one.
    """
    names: list[str] = []
    arrays: list[Pixels] = []
    bad: list[BadRow] = []
    with quiet():
        for name, data in files:
            try:
                arrays.append(decode(load(data, settings), settings).pixels)
                names.append(name)
            except BadImage as error:
                bad.append(BadRow(name, None, error.reason, error.detail))
    if bad and settings.on_bad_image == "stop":
        raise UserError(
            f"{len(bad)} bad images ({counted(bad)}); the first: {bad[0]}",
            where=where,
            fix="mend it, or set data.on_bad_image to skip",
        )
    if not arrays:
        raise UserError("no usable image", where=where)
    return NamedImages(names, np.stack(arrays), bad)
