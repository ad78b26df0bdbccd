"""A folder of DICOM files, nested or not, whatever their names: who is shown is in the header."""

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from pd.config import DataSettings
from pd.dataset.decode import BadImage, largest_file
from pd.dataset.dicom_file import Dataset, frames_in, is_dicom, read_header, require_dicom
from pd.dataset.dicom_pixels import decode_dicom
from pd.dataset.readers.ages import years_of
from pd.dataset.readers.columns import LONGEST
from pd.dataset.readers.identity import IF_SAID, identity_of
from pd.dataset.readers.manifest import text_of
from pd.dataset.readers.source import SECONDARY, BadRow, Row, Source, utf8
from pd.errors import UserError
from pd.store.paths import inside, walk

SUFFIXES = (".dcm", ".dicom", ".ima", ".dic")
_BURNED_IN = "headers cannot tell whether names are burned into pictures: look at some of each device before you go on"
_OWN = ("SOPClassUID", "Modality", "NumberOfFrames", "Rows", "Columns", "BurnedInAnnotation", "ImageType")
_WHOLE, _PARTS = ("IS", "US", "SS", "UL", "SL", "UV", "SV", "AS"), ("DS", "FL", "FD")
_TEXT = ("AE", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_NO_PICTURES = {  # beginnings of SOP classes (PS3.4, B.5)
    "1.2.840.10008.5.1.4.1.1.88": "reports",
    "1.2.840.10008.5.1.4.1.1.104": "encapsulated documents",
    "1.2.840.10008.5.1.4.1.1.11": "presentation states",
    "1.2.840.10008.5.1.4.1.1.9": "waveforms",
    "1.2.840.10008.5.1.4.1.1.481": "radiotherapy plans",
    "1.2.840.10008.5.1.4.1.1.66": "registrations and segmentations",
    "1.2.840.10008.1.3.10": "directories",
}


def dicom(path: Path, settings: DataSettings) -> Source:
    """Every DICOM file below a folder, told by its content; of headers what `data.columns` names is kept, no more.

    Reports, other files without pixels, and secondary captures are left out and counted.

    Raises:
        UserError: no such folder, no DICOM file in it, a tag that does not exist or is no text or number, or no pydicom.
    """
    require_dicom()
    if not path.is_dir():
        what = "this is a file, not a folder" if path.exists() else "no such folder"
        raise UserError(what, code="no-such-folder", where=str(path), fix="name the folder of the DICOM files")
    columns = settings.columns
    identity = columns.identity or "PatientID"
    asked = [identity, *([columns.caption] if columns.caption else []), *([columns.split] if columns.split else [])]
    for keyword in asked:
        _kind(keyword)
    labels = {keyword: _kind(keyword) for keyword in columns.labels or ()}
    root, ignored, left_out = path.resolve(), Counter[str](), Counter[str]()
    names = [name for name, _ in walk(path) if _may_be(root, name, ignored)]
    if not names:
        raise UserError(
            "no DICOM file in this folder", code="no-images", where=str(path), fix="name the folder that holds them"
        )
    tags = list(dict.fromkeys([*_OWN, *asked, *labels]))

    def rows() -> Iterator[Row | BadRow]:
        left_out.clear()
        for name in names:
            yield from _rows(name, root, settings, tags, labels, left_out)

    return Source(
        str(path),
        len(names),
        labels,
        rows,
        has_split=columns.split is not None,
        embedded=True,  # each file is named below, and its header need not be read to know whether it has changed
        files=tuple(root / name for name in names),
        ignored=ignored,
        left_out=left_out,
        notes=(_BURNED_IN,),
    )


def _rows(
    name: str, root: Path, settings: DataSettings, tags: list[str], labels: dict[str, pa.DataType], left_out: Counter[str]
) -> Iterator[Row | BadRow]:
    file = inside(root, name)
    if not utf8(name):
        yield BadRow(name, None, "unsupported", "a name that is not UTF-8")
        return
    if file is None:
        yield BadRow(name, None, "outside the folder", "a link that leads out")
        return
    try:
        size = file.stat().st_size
        if size > largest_file(settings):
            raise BadImage("too large", f"{size} bytes")
        with file.open("rb") as stream:
            if not is_dicom(stream):
                raise BadImage("not an image", "not DICOM: no mark after the preamble")
            stream.seek(0)
            header = read_header(stream, settings, tags)
        if (kind := _no_picture(header, settings)) is not None:
            left_out[kind] += 1
            return
        if settings.dicom.burned_in == "refuse" and _word(header, "BurnedInAnnotation").upper() == "YES":
            raise BadImage("burned-in text", "its header says so; data.dicom.burned_in: keep takes it all the same")
        rows = [_row(name, file, frame, header, settings, labels) for frame in _frames(header, settings)]
    except BadImage as bad:
        yield BadRow(name, None, bad.reason, bad.detail)
    except OSError as error:
        yield BadRow(name, None, "missing", error.strerror or "")
    except Exception:  # values are read only when they are asked for, and raise nearly anything
        yield BadRow(name, None, "corrupt", "a value of its header cannot be read")
    else:
        yield from rows


def _row(
    name: str, file: Path, frame: int | None, header: Dataset, settings: DataSettings, labels: dict[str, pa.DataType]
) -> Row | BadRow:
    columns = settings.columns
    how = settings.identity_from
    if how is not None and how != IF_SAID:
        identity = identity_of(name, how)
    else:
        identity = _word(header, columns.identity or "PatientID")
    if not identity and how == IF_SAID and frame is not None:
        identity = name  # the frames of a file are of one person
    caption = _word(header, columns.caption) if columns.caption else ""
    split = _word(header, columns.split) if columns.split else None
    if split and columns.members:
        split = "member" if split in columns.members else "holdout"
    values = {keyword: _value(header, keyword, kind) for keyword, kind in labels.items()}
    if any(len(text) > LONGEST or not utf8(text) for text in (identity, caption, *map(str, values.values()))):
        return BadRow(name, None, "unsupported", f"a text of more than {LONGEST} characters, or not UTF-8")
    if not identity and how != IF_SAID:
        return BadRow(name, None, "no identity")
    key = name if frame is None else f"{name}#{frame}"
    decode = partial(decode_dicom, frame=frame or 0)
    return Row(key, None, key, file, identity, caption or None, split, values, decode)


def _frames(header: Dataset, settings: DataSettings) -> list[int | None]:
    """The frames that are pictures of their own; None: the file is one picture."""
    count = frames_in(header)
    if count == 1 or settings.dicom.frames == "first":
        return [None]
    return [count // 2] if settings.dicom.frames == "middle" else list(range(count))


def _no_picture(header: Dataset, settings: DataSettings) -> str | None:
    """What a file is, where it is no picture of a person."""
    kind = _word(header, "SOPClassUID")
    if settings.dicom.secondary == "skip" and (kind == _SECONDARY or kind.startswith(f"{_SECONDARY}.")):
        return SECONDARY
    for beginning, words in _NO_PICTURES.items():
        if kind == beginning or kind.startswith(f"{beginning}."):
            return words
    return None if header.get("Rows") else "files without a picture"


def _may_be(root: Path, name: str, ignored: Counter[str]) -> bool:
    if name.lower().endswith(SUFFIXES):
        return True
    try:
        file = inside(root, name)
        if file is None or not file.is_file():
            return True  # named as bad where it is read
        with file.open("rb") as stream:
            if is_dicom(stream):
                return True
    except (OSError, ValueError):
        return True
    ignored[Path(name).suffix.lower() or "no suffix"] += 1
    return False


def _kind(keyword: str) -> pa.DataType:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        fix = "name it by keyword, such as PatientSex, in data.columns"
        raise UserError(f"DICOM has no tag '{keyword[:60]}'", code="unknown-name", where="data.columns", fix=fix)
    vr = dictionary_VR(tag)
    if vr in _WHOLE:
        return pa.int64()
    if vr in _PARTS:
        return pa.float64()
    if vr in _TEXT:
        return pa.string()
    raise UserError(
        f"'{keyword}' is neither text nor a number", code="bad-column", where="data.columns", fix="name another tag"
    )


def _word(header: Dataset, keyword: str) -> str:
    value = header.get(keyword)
    if value is None:
        return ""
    if hasattr(value, "__iter__") and not isinstance(value, str) and not hasattr(value, "original_string"):
        value = "\\".join(map(str, value))
    return text_of(str(value))


def _value(header: Dataset, keyword: str, kind: pa.DataType) -> object:
    """A label; None where it is missing or no number. An age such as 045Y is in whole years (PS3.5, 6.2)."""
    word = _word(header, keyword)
    if not word:
        return None
    if pa.types.is_string(kind):
        return word
    if (years := years_of(word)) is not None:
        return years
    try:
        number = float(word.split("\\")[0])
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if pa.types.is_integer(kind) and abs(number) < 2**53 else (None if pa.types.is_integer(kind) else number)
