"""What candidates are compared with: the members' embeddings and near-copy descriptors, computed once."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.numpy import load_file, save_file
from torch import nn

from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.filters.near_copy import POSES, gallery_rows
from pd.reid.embed import embed
from pd.reid.gallery import Gallery

GALLERY_FILES = _ROWS, _IDS = "gallery.safetensors", "gallery_ids.json"


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
    rows = {_name(k): embed(network, members.images) for k, network in enumerate(networks)}
    save_file({**rows, "near_copy": gallery_rows(members.images)}, folder / _ROWS)
    (folder / _IDS).write_text(json.dumps(members.ids) + "\n", encoding="utf-8")


def load_gallery(folder: Path) -> tuple[list[Gallery], Gallery, list[str]]:
    """A gallery of embeddings for each network, one of near-copy descriptors (POSES rows a member), and the members' ids.

    Raises:
        UserError: a file is missing or damaged.
    """
    from safetensors import SafetensorError

    try:
        rows = load_file(folder / _ROWS)
        ids = json.loads((folder / _IDS).read_text(encoding="utf-8"))
        near = rows.pop("near_copy")
        reid = [rows[_name(k)] for k in range(len(rows))]
        if any(len(one) != len(ids) for one in reid) or not reid or len(near) != POSES * len(ids):
            raise ValueError("rows and ids do not match")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(
            f"no whole member gallery ({type(error).__name__})", where=str(folder), fix="build it again: pd reid"
        ) from None
    return [Gallery(one) for one in reid], Gallery(near), ids


def _name(network: int) -> str:
    return f"reid_{network + 1}" if network else "reid"
