"""DICOM Secondary Capture, plainly marked as synthetic: for who looks at pictures in a hospital's viewer."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pd.errors import UserError
from pd.release.formats.rows import Kept

PATIENT = "SYNTHETIC"
DERIVATION = "Synthetic picture made by a generative model (privacy distillation). It shows no patient."
_LONGEST = 10_240  # characters of a long text (PS3.5, 6.2)
_LEFT_OUT = (  # times, and who wrote it when: of no use to anybody, and never twice the same
    "InstanceCreationDate",
    "InstanceCreationTime",
    "ContentDate",
    "ContentTime",
    "DateOfSecondaryCapture",
    "TimeOfSecondaryCapture",
    "ContributingEquipmentSequence",
)


def require_highdicom() -> None:
    """Raise UserError where the packages that write DICOM are not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        what = "releasing DICOM needs packages that are not installed"
        raise UserError(
            what, code="missing-package", where="release.formats", fix='pip install "privacy-distillation[dicom]"'
        ) from None


def write_dicom(rows: Iterable[Kept], folder: Path) -> None:
    """Write `ID.dcm` for each row."""
    require_highdicom()
    for number, row in enumerate(rows, start=1):
        synthetic(row, number).save_as(folder / f"{row.id}.dcm", enforce_file_format=True)


def synthetic(row: Kept, number: int) -> Any:
    """A data set of pydicom: the picture, its prompt as a comment, and that it is synthetic; no times, no names.

    Args:
        row: a kept image.
        number: from 1, of its place in the release.
    """
    from highdicom.sc import SCImage

    with Image.open(io.BytesIO(row.png)) as picture:
        grey = picture.mode == "L"
        pixels = np.asarray(picture if grey else picture.convert("RGB"))
    found = SCImage(
        pixel_array=pixels,
        photometric_interpretation="MONOCHROME2" if grey else "RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=_uid(row, "study"),
        series_instance_uid=_uid(row, "series"),
        series_number=1,
        sop_instance_uid=_uid(row, "instance"),
        instance_number=1,
        manufacturer="privacy-distillation",
        patient_id=f"{PATIENT}-{number:08d}",
        patient_name=f"{PATIENT}^PICTURE",
        patient_orientation=("L", "F"),
        specific_character_set="ISO_IR 192",
    )
    for name in _LEFT_OUT:
        if name in found:
            delattr(found, name)
    found.ImageType = ["DERIVED", "SECONDARY"]
    found.ConversionType = "SYN"
    found.DerivationDescription = DERIVATION
    found.SeriesDescription = "Synthetic pictures"
    found.ImageComments = row.prompt[:_LONGEST]
    return found


def _uid(row: Kept, what: str) -> str:
    """A new UID (PS3.5, B.2) that the picture and its name decide: from nothing that was ever a patient's."""
    digest = hashlib.sha256(f"{what}\0{row.id}\0".encode() + row.png).digest()
    # the bits of version 4 and variant of a UUID, as a random one has them
    value = int.from_bytes(digest[:16], "big") & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62
    return f"2.25.{value}"
