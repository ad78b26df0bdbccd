"""What candidates are compared with: the members' embeddings and near-copy rows, computed once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from pd.dataset.mapping import MapRows, map_here
from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.filters.families import read_space, space_tensors
from pd.filters.gallery_rows import GalleryRows
from pd.filters.near_copy import POSES, NearCopyDetector
from pd.filters.space_rows import EACH
from pd.reid.altered_copies import AlteredCopies
from pd.reid.gallery import Gallery
from pd.reid.sharded import ShardedGallery
from pd.reid.spaces.space import Space

GALLERY_FILES = _ROWS, _IDS = "gallery.safetensors", "gallery_ids.json"
_FAMILY, _ALTERED = "family/", "altered/"


@dataclass(frozen=True, eq=False)
class MemberGallery:
    """What no candidate may resemble. Galleries may lie elsewhere, in parts.

    Attributes:
        reid: a gallery of embeddings for each network, a row a member image.
        detector: makes the rows of the other one.
        near_copy: the near-copy detector's, len(POSES) rows a member image.
        spaces: the learned spaces.
        families: a gallery for each of these, EACH rows a member image.
        ids: of the member images.
        altered: looks for altered copies of all member images, whichever part this is; None: nobody asked.
    """

    reid: Sequence[Gallery | ShardedGallery]
    detector: NearCopyDetector
    near_copy: Gallery | ShardedGallery
    spaces: Sequence[Space]
    families: Sequence[Gallery | ShardedGallery]
    ids: list[str]
    altered: AlteredCopies | None = None


def build_gallery(
    networks: Sequence[nn.Module],
    members: PrivateDataset,
    folder: Path,
    spaces: Sequence[Space] = (),
    map_rows: MapRows = map_here,
    *,
    altered: bool = False,
) -> None:
    """Write the members' gallery: `gallery.safetensors` and `gallery_ids.json`.

    Args:
        networks: the re-identification networks.
        members: images that no candidate may resemble.
        folder: made if need be.
        spaces: learned spaces, in which members are looked for, too.
        map_rows: computes the rows; by default this process.
        altered: whether altered copies are looked for.
    """
    if not len(members):
        raise UserError("no member image to compare candidates with", code="no-images", where="data", fix="check the split")
    folder.mkdir(parents=True, exist_ok=True)
    detector = NearCopyDetector.fit(members.images)
    function = GalleryRows(networks, detector, spaces, members.images)
    reid, near_copy, families = function.gallery_arrays(map_rows(function, f"gallery-{function.key}"))
    rows = {_name(k): found for k, found in enumerate(reid)} | {"near_copy": near_copy, "axes": detector.axes}
    for space in spaces:
        rows |= space_tensors(space) | {f"{_FAMILY}{space.kind}": families[space.kind]}
    if altered:
        rows |= {f"{_ALTERED}{name}": found for name, found in AlteredCopies.of(members.images, quick=True).tensors().items()}
    save_file(rows, folder / _ROWS)
    (folder / _IDS).write_text(json.dumps(members.ids) + "\n", encoding="utf-8")


def load_gallery(folder: Path, device: str = "cpu", part: tuple[int, int] = (0, 1)) -> MemberGallery:
    """What `build_gallery` wrote.

    Args:
        folder: holds it.
        device: where to search.
        part: (k, n): only the k-th of n parts of the member images, of about equal size.

    Raises:
        UserError: a file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    ids = gallery_ids(folder)
    try:
        start, stop = (len(ids) * at // part[1] for at in (part[0], part[0] + 1))
        with safe_open(folder / _ROWS, framework="np") as rows:
            keys = set(rows.keys())
            kinds = sorted(name.removeprefix(_FAMILY) for name in keys if name.startswith(_FAMILY))
            names = [name for name in keys if name.startswith("reid")]
            spaces = [read_space(kind, rows.get_tensor) for kind in kinds]
            copies = {name.removeprefix(_ALTERED): rows.get_tensor(name) for name in keys if name.startswith(_ALTERED)}
            altered = (
                AlteredCopies.read(copies, quick=True) if copies else None
            )  # whole in every part: half a kilobyte an image
            detector = NearCopyDetector(rows.get_tensor("axes"))
            wanted = (*(_name(k) for k in range(len(names))), "near_copy", *(f"{_FAMILY}{kind}" for kind in kinds))
            found = [rows.get_slice(name) for name in wanted]
            each = [*(1 for _ in names), len(POSES), *(EACH for _ in kinds)]
            if not names or [cut.get_shape()[0] for cut in found] != [len(ids) * count for count in each]:
                raise ValueError("rows and ids do not match")
            parts = [cut[start * count : stop * count] for cut, count in zip(found, each, strict=True)]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _broken(folder, error) from None
    galleries = [Gallery(one, device=device) for one in parts]
    count = len(names)
    families = galleries[count + 1 :]
    return MemberGallery(galleries[:count], detector, galleries[count], spaces, families, ids[start:stop], altered)


def member_rows(folder: Path) -> NDArray[np.float32]:
    """(M, d) float32, the first network's rows of the member images, as `build_gallery` wrote them."""
    from safetensors import safe_open

    with safe_open(folder / _ROWS, framework="np") as rows:
        found: NDArray[np.float32] = rows.get_tensor(_name(0))
        return found


def gallery_ids(folder: Path) -> list[str]:
    """The member images' ids, in the order of the gallery's rows. Raises UserError as `load_gallery`."""
    try:
        return [str(name) for name in json.loads((folder / _IDS).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise _broken(folder, error) from None


def _broken(folder: Path, error: Exception) -> UserError:
    what = f"no whole member gallery ({type(error).__name__})"
    return UserError(what, code="unreadable-file", where=str(folder), fix="build it again: pd reid")


def _name(network: int) -> str:
    return f"reid_{network + 1}" if network else "reid"
