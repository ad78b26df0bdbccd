"""Settings of a release: what is in it, in which formats the images are, and who signs it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from pd.config.base import Section

Format = Literal["parquet", "dicom", "imagefolder", "webdataset"]


class ReleaseSettings(Section):
    """What goes from `private/` into `release/` once the audit is done, and how it is handed over."""

    data: Literal["kept", "student", "none"] = Field(
        "kept",
        description="kept: candidates that the filter kept; student: samples of the student that passed it, too; none",
    )
    accept_leak: bool = Field(
        False, description="release also what the audit's verdict calls a leak; the card says that this was accepted"
    )
    formats: tuple[Format, ...] = Field(
        ("parquet",),
        description="parquet (always: release/data), imagefolder (release/imagefolder), webdataset (release/webdataset), "
        "dicom (release/dicom; needs the extra)",
    )
    signing_key: Path | None = Field(
        None,
        description="SSH private key that signs SHA256SUMS (`ssh-keygen -Y sign`); without a passphrase, or held by ssh-agent",
    )

    @field_validator("formats")
    @classmethod
    def _with_parquet(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        if "parquet" not in value:
            raise ValueError("parquet is always among them: the student learns from it, and `pd verify` compares with it")
        return tuple(dict.fromkeys(value))
