"""What candidates are compared with: the members' embeddings and near-copy rows, computed once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file, save_file
from torch import nn

from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.filters.near_copy import POSES, NearCopyDetector
from pd.reid.embed import embed
from pd.reid.gallery import Gallery

GALLERY_FILES = _ROWS, _IDS = "gallery.safetensors", "gallery_ids.json"


@dataclass(frozen=True, eq=False)
class MemberGallery:
    """What no candidate may resemble.

    Attributes:
        reid: a gallery of embeddings for each network, a row a member image.
        detector: makes the rows of the other one.
        near_copy: the near-copy detector's, len(POSES) rows a member image.
        ids: of the member images.
    """

    reid: list[Gallery]
    detector: NearCopyDetector
    near_copy: Gallery
    ids: list[str]


def build_gallery(networks: Sequence[nn.Module], members: PrivateDataset, folder: Path) -> None:
    """Write the members' gallery: `gallery.safetensors` and `gallery_ids.json`.

    Args:
        networks: the re-identification networks.
        members: images that no candidate may resemble.
        folder: made if need be.
    """
    if not len(members):
        raise UserError("no member image to compare candidates with", where="data", fix="check the split")
    folder.mkdir(parents=True, exist_ok=True)
    detector = NearCopyDetector.fit(members.images)
    rows = {_name(k): embed(network, members.images) for k, network in enumerate(networks)}
    rows |= {"near_copy": detector.gallery_rows(members.images), "mean": detector.mean, "axes": detector.axes}
    save_file(rows, folder / _ROWS)
    (folder / _IDS).write_text(json.dumps(members.ids) + "\n", encoding="utf-8")


def load_gallery(folder: Path) -> MemberGallery:
    """What `build_gallery` wrote.

    Raises:
        UserError: a file is missing or damaged.
    """
    from safetensors import SafetensorError

    try:
        rows = load_file(folder / _ROWS)
        ids = json.loads((folder / _IDS).read_text(encoding="utf-8"))
        near, detector = rows.pop("near_copy"), NearCopyDetector(rows.pop("mean"), rows.pop("axes"))
        reid = [rows[_name(k)] for k in range(len(rows))]
        if any(len(one) != len(ids) for one in reid) or not reid or len(near) != len(POSES) * len(ids):
            raise ValueError("rows and ids do not match")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(
            f"no whole member gallery ({type(error).__name__})", where=str(folder), fix="build it again: pd reid"
        ) from None
    return MemberGallery([Gallery(one) for one in reid], detector, Gallery(near), ids)


def _name(network: int) -> str:
    return f"reid_{network + 1}" if network else "reid"
