"""From names of formats to what writes them, and the proof that what was written says what `release/data` says, and no more."""

import io
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pd.errors import UserError
from pd.release.checks import Check, judge
from pd.release.formats.dicom import require_highdicom, synthetic, write_dicom
from pd.release.formats.imagefolder import write_imagefolder
from pd.release.formats.rows import Kept, kept_rows
from pd.release.formats.webdataset import write_webdataset
from pd.store.files import digest_file

WRITERS: Mapping[str, Callable[[Iterable[Kept], Path], None]] = {
    "imagefolder": write_imagefolder,
    "webdataset": write_webdataset,
    "dicom": write_dicom,
}
FORMATS = "other formats hold what data/ holds, and no more"
_LARGEST = 1 << 30  # bytes of a DICOM file of a release
_HEADER = ("FileMetaInformationGroupLength", "ImplementationClassUID", "ImplementationVersionName")  # of who writes
_VERSION = re.compile(r"[0-9.]{1,64}|(highdicom|PYDICOM)[ 0-9.a-z]{0,12}")


def check_formats(release: Path) -> Check | None:
    """Whether each further format is, to the byte, what the kept images make; of DICOM to the element. None: there is none."""
    there = [name for name in WRITERS if (release / name).exists()]
    if not there:
        return None
    if "dicom" in there:
        try:
            require_highdicom()
        except UserError:
            return Check(FORMATS, None, 'not checked: release/dicom needs pip install "privacy-distillation[dicom]"')
    faults: list[str] = []
    files = 0
    for name in there:
        folder = release / name
        files += sum(1 for _ in folder.rglob("*"))
        try:
            faults += _dicom_faults(release) if name == "dicom" else _faults(release, name)
        except Exception as error:  # a release may be damaged in any way
            faults.append(f"{name} cannot be compared ({type(error).__name__})")
    return judge(FORMATS, faults, f"{files} files of {', '.join(there)}")


def _faults(release: Path, name: str) -> list[str]:
    folder = release / name
    with tempfile.TemporaryDirectory(prefix="pd-verify-") as aside:
        WRITERS[name](kept_rows(release / "data"), Path(aside))
        wanted = {path.name: digest_file(path) for path in Path(aside).iterdir()}
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    faults = [f"{name}/{file} is no picture of data/" for file in sorted(there.keys() - wanted.keys())]
    faults += [f"{name}/{file} is missing" for file in sorted(wanted.keys() - there.keys())]
    return faults + [
        f"{name}/{file} differs from data/"
        for file in sorted(wanted.keys() & there.keys())
        if not there[file].is_file() or there[file].is_symlink() or digest_file(there[file]) != wanted[file]
    ]


def _dicom_faults(release: Path) -> list[str]:
    folder, faults, seen = release / "dicom", list[str](), set[str]()
    for number, row in enumerate(kept_rows(release / "data"), start=1):
        name = f"{row.id}.dcm"
        seen.add(name)
        path = folder / name
        if not path.is_file() or path.is_symlink():
            faults.append(f"dicom/{name} is missing")
        elif not _same(path, synthetic(row, number)):
            faults.append(f"dicom/{name} differs from data/")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return faults + [f"dicom/{file} is no picture of data/" for file in sorted(there - seen)]


def _same(path: Path, wanted: Any) -> bool:
    """Whether a file holds these elements to the byte; only the version of who wrote it may be another."""
    from pydicom import dcmread

    if path.stat().st_size > _LARGEST:
        return False
    data, out = path.read_bytes(), io.BytesIO()
    wanted.save_as(out, enforce_file_format=True)
    meta, ours = dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta, wanted.file_meta
    again = out.getvalue()
    begin = _start(dcmread(io.BytesIO(again), stop_before_pixels=True).file_meta)
    if data[:128] != b"\0" * 128 or data[_start(meta) :] != again[begin:]:
        return False
    told, known = ({e.keyword: str(e.value) for e in found if e.keyword not in _HEADER} for found in (meta, ours))
    return told == known and all(_VERSION.fullmatch(str(meta.get(name, ""))) for name in _HEADER)


def _start(meta: Any) -> int:
    """Where the elements begin: after the preamble, its mark, and the group of the file's own (PS3.10, 7.1)."""
    return 132 + 12 + int(meta.FileMetaInformationGroupLength)
