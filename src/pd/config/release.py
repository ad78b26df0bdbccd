"""Settings of what a release holds beside the student and the Parquet of kept images."""

from typing import Literal

from pydantic import Field, field_validator

from pd.config.base import Section

Format = Literal["parquet", "dicom", "imagefolder", "webdataset"]


class ReleaseSettings(Section):
    """In which formats the kept images are released."""

    formats: tuple[Format, ...] = Field(
        ("parquet",),
        description="parquet (always: release/data), imagefolder (release/imagefolder), webdataset (release/webdataset), "
        "dicom (release/dicom; needs the extra)",
    )

    @field_validator("formats")
    @classmethod
    def _with_parquet(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        if "parquet" not in value:
            raise ValueError("parquet is always among them: the student learns from it, and `pd verify` compares with it")
        return tuple(dict.fromkeys(value))
