"""Faces: CelebA and Labelled Faces in the Wild."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pd.config import ColumnSettings, DataSettings
from pd.dataset.readers.columns import overlaid
from pd.dataset.readers.delimited import read_delimited
from pd.dataset.readers.folder import folder as folder_reader
from pd.dataset.readers.manifest import source_of
from pd.dataset.readers.presets.tables import find, joined
from pd.dataset.readers.source import Source
from pd.dataset.readers.table import table_in_memory
from pd.errors import UserError

_CELEBA = tuple(  # the pictures, as published in `Img/`, or unpacked into a folder of the archive's name
    f"{above}{inner}"
    for name in ("img_align_celeba", "img_celeba")
    for above in ("", "Img/")
    for inner in (f"{name}/{name}", name)
)
_LFW = ("lfw_funneled", "lfw-deepfunneled", "lfw")


def celeba(settings: DataSettings) -> Source:
    """`identity_CelebA.txt` without a header, `list_attr_celeba.txt` under a line with its length, over `img_align_celeba/`.

    Tables may lie in `Anno/` and pictures in `Img/`, as they are published.
    """
    folder = settings.path
    assert folder is not None
    who = find(folder, ("identity_CelebA.txt", "*/identity_CelebA.txt"), "list of identities")
    what = find(folder, ("list_attr_celeba.txt", "*/list_attr_celeba.txt"), "list of attributes")
    people = read_delimited(who, ("f0", "f1"), header=False, blank=True)
    if people.num_columns != 2:
        raise UserError(
            "not a picture and a number a line",
            code="unreadable-file",
            where=str(who),
            fix="this is another version of the set",
        )
    lines = what.read_text(encoding="utf-8", errors="replace").splitlines()
    names = lines[1].split() if len(lines) > 1 else []
    values = read_delimited(what, ("f0",), header=False, skip=2, blank=True)
    if not names or values.num_columns != len(names) + 1:
        raise UserError(
            "not a value for each attribute", code="unreadable-file", where=str(what), fix="this is another version of the set"
        )
    at = {name: row for row, name in enumerate(values["f0"].to_pylist())}
    rows = pa.array([at.get(name) for name in people["f0"].to_pylist()], pa.int64())
    prefix = next((f"{name}/" for name in _CELEBA if (folder / name).is_dir()), "img_align_celeba/")
    # 1 and -1 become 1 and 0
    labels = {name: pc.equal(values[f"f{n}"], 1).cast(pa.int64()).take(rows) for n, name in enumerate(names, start=1)}
    table = pa.table({"file_name": joined(prefix, people["f0"]), "identity": people["f1"], **labels})
    columns = overlaid(ColumnSettings(image="file_name", labels=tuple(names)), settings.columns)
    return source_of(table_in_memory(table, str(who)), folder, columns, settings.identity_from, files=(who, what))


def lfw(settings: DataSettings) -> Source:
    """A folder for each person, `Aaron_Eckhart/Aaron_Eckhart_0001.jpg`; without a path scikit-learn fetches them."""
    path = settings.path or _fetched()
    inner = next((path / name for name in _LFW if (path / name).is_dir()), path)
    return replace(folder_reader(inner), where=str(path))


def _fetched() -> Path:
    from sklearn.datasets import fetch_lfw_people, get_data_home

    home = Path(get_data_home(), "lfw_home")
    if not (home / _LFW[0]).is_dir():
        try:
            fetch_lfw_people(min_faces_per_person=70, resize=0.4)
        except (OSError, ValueError):  # urllib's errors are OSError
            what = "Labelled Faces in the Wild cannot be fetched"
            raise UserError(
                what, code="hub-failed", where="data.preset", fix="check the network, or set data.path to the unpacked folder"
            ) from None
    return home
