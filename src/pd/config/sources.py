"""Settings of where in a source things stand: columns of a table, tags of a DICOM header, parts of a path."""

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pd.config.base import Section

Reader = Literal["faces", "folder", "manifest", "huggingface", "dicom", "video"]
PRESETS = (
    "mimic_cxr",
    "chexpert",
    "nih_chestxray14",
    "padchest",
    "lfw",
    "celeba",
    "fashion_mnist",
    "imagefolder",
    "webdataset",
)
READERS = "privacy_distillation.readers"
"""Entry points of this group, of installed packages, are presets too: functions from `DataSettings` to a `Source`."""


def _known_preset(name: str) -> str:
    brought = {one.name for one in entry_points(group=READERS)}
    if name not in PRESETS and name not in brought:
        raise ValueError(f"should be one of {', '.join((*PRESETS, *sorted(brought)))}")
    return name


Preset = Annotated[str, AfterValidator(_known_preset)]
_CHEST = {"caption": "a chest X-ray", "size": 64, "resize": "pad", "on_bad_image": "skip"}
_FACE = {"caption": "a photo of a face", "size": 64, "mode": "rgb", "on_bad_image": "skip"}
# What `pd init --preset` writes beside the preset's name.
PRESET_DATA: Mapping[str, Mapping[str, object]] = {
    "mimic_cxr": _CHEST,
    "chexpert": _CHEST,
    "nih_chestxray14": _CHEST,
    "padchest": _CHEST,
    "lfw": _FACE,
    "celeba": _FACE,
    "fashion_mnist": {"caption": "a piece of clothing", "size": 32, "on_bad_image": "skip"},
}


def _pattern(value: int | str | None) -> int | str | None:
    if isinstance(value, int) and value < 1:
        raise ValueError("a depth counts from 1, the first folder of the path")
    if isinstance(value, str):
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError):
            raise ValueError("not a regular expression") from None
    return value


IdentityFrom = Annotated[int | str | None, AfterValidator(_pattern)]


class ColumnSettings(Section):
    """Which column says what (tags of a DICOM header, keys of JSON); empty: the names that pd looks for."""

    image: str | None = Field(None, description="the path or the encoded image; else `image`, `path` or `file_name`")
    identity: str | None = Field(None, description="who is shown; else `identity` (DICOM: PatientID)")
    caption: str | None = Field(None, description="what is shown, in words; else `caption`")
    split: str | None = Field(None, description="member or holdout; else `split`")
    members: tuple[str, ...] = Field((), description="words in the split column that mean member; all others: holdout")
    labels: tuple[str, ...] | None = Field(None, description="label columns; empty: all others (DICOM: none)")
    findings: str | None = Field(None, description="a column with several findings in a cell; each becomes a label of 0 and 1")
    separator: Annotated[str, Field(min_length=1)] = Field("|", description="what stands between findings")


class DicomSettings(Section):
    """How DICOM files become pictures. What is kept of a header is named in `columns`, by keyword: PatientSex."""

    window: tuple[float, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="centre and width of the window; empty: the file's VOI LUT or window, else all values"
    )
    frames: Literal["first", "middle", "all"] = Field(
        "first", description="of a file with several frames: first | middle | all"
    )
    burned_in: Literal["refuse", "keep"] = Field(
        "refuse", description="files whose header says BurnedInAnnotation: YES (headers cannot tell where they say nothing)"
    )
    secondary: Literal["skip", "read"] = Field("skip", description="secondary captures, such as screenshots: skip | read")


class VideoSettings(Section):
    """How clips of video become pictures."""

    rate: Annotated[float, Field(gt=0, le=60)] = Field(2.0, description="frames a second that are taken")
    seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        60.0, description="most that is read of a clip; a longer one is cut there, and counted"
    )
    face: Literal["crop", "centre"] = Field(
        "crop",
        description="crop: the face, by OpenCV's Haar cascade (extra [video]), else the centre; centre: always the centre",
    )
    margin: Annotated[float, Field(ge=0, le=2)] = Field(0.35, description="added around a face, as a share of its side")
    thin: Annotated[float, Field(ge=0, le=255)] = Field(
        2.0, description="a frame that differs from another of its clip by fewer grey levels is left out; 0: none is"
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="that read clips, or on a cluster image files; 0: as many as fit"
    )
