"""What all sections of the settings are made of."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _on_disk(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        raise ValueError("it must lie on a disk, or a mount that all nodes share; docs/storage.md says what may lie at s3://")
    return value


Positive = Annotated[int, Field(gt=0)]
LocalPath = Annotated[Path, BeforeValidator(_on_disk)]  # a Path would make one slash of the two in s3://, and a folder `s3:`
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _whole_or_part(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError("write a whole number, or a part of one GPU such as 0.25")
    return gpus


Gpus = Annotated[float, Field(ge=0), AfterValidator(_whole_or_part)]


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Precision = Literal["auto", "fp32", "bf16"]
Trained = Literal["full", "lora", "frozen"]
