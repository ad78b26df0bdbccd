"""How images are read of which nobody says how: by what lies there."""

from itertools import islice
from pathlib import Path

from pd.dataset.decode import SUFFIXES
from pd.dataset.dicom_file import is_dicom
from pd.dataset.video_file import SUFFIXES as VIDEO
from pd.store.paths import walk

SAVED = ("dataset_dict.json", "state.json")  # files of `save_to_disk`
_LOOK = 200  # files of a folder


def guess(path: str) -> dict[str, str]:
    """`reader` or `preset` for a path here, or at `s3://`, of which only the name is looked at."""
    name = path.rstrip("/").rpartition("/")[2].lower()
    if "://" in path:
        if name.endswith(".tar"):
            return {"preset": "webdataset"}
        return {"reader": "manifest" if "." in name and not name.endswith(SUFFIXES) else "folder"}
    place = Path(path)
    if place.is_file() and name.endswith(VIDEO):
        return {"reader": "video"}
    if place.is_file():
        return {"preset": "webdataset"} if name.endswith(".tar") else {"reader": "manifest"}
    if not place.is_dir():
        return {"reader": "folder"}
    if any((place / file).exists() for file in SAVED):
        return {"reader": "huggingface"}
    names = [file for file, link in islice(walk(place), _LOOK) if not link]
    if any(Path(file).name in ("metadata.jsonl", "metadata.csv", "metadata.parquet") for file in names):
        return {"preset": "imagefolder"}
    if any(file.lower().endswith(SUFFIXES) for file in names):
        return {"reader": "folder"}
    if any(file.lower().endswith(".tar") for file in names):
        return {"preset": "webdataset"}
    if any(_dicom(place / file) for file in names[:20]):
        return {"reader": "dicom"}
    if any(file.lower().endswith(VIDEO) for file in names):
        return {"reader": "video"}
    if any(file.lower().endswith(".parquet") for file in names):
        return {"reader": "huggingface"}
    return {"reader": "folder"}


def _dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return is_dicom(stream)
    except OSError:
        return False
