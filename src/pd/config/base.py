"""What all sections of the settings are made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from pd.config.mirrored import as_written, check_slashes, mirrored, on_disk


def _anywhere(value: object) -> object:
    if isinstance(value, str):
        check_slashes(value)
    return mirrored(value) if isinstance(value, str) and "://" in value else value


Positive = Annotated[int, Field(gt=0)]
# On a disk, or at s3://: then the path is that of its mirror, and where settings are written it is the URL again.
AnyPath = Annotated[Path, BeforeValidator(_anywhere), PlainSerializer(as_written, return_type=str, when_used="json")]
DiskPath = Annotated[AnyPath, AfterValidator(on_disk)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _whole_or_part(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError("write a whole number, or a part of one GPU such as 0.25")
    return gpus


def _number_or_range(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    pair = list(value) if isinstance(value, list | tuple) else []
    if len(pair) == 2 and all(isinstance(n, int) and not isinstance(n, bool) for n in pair) and 1 <= pair[0] <= pair[1]:
        return pair[0] if pair[0] == pair[1] else tuple(pair)
    raise ValueError("write a number, or [min, max] with 1 <= min <= max")


Workers = Annotated[int | tuple[int, int], BeforeValidator(_number_or_range)]
Gpus = Annotated[float, Field(ge=0), AfterValidator(_whole_or_part)]


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know.

    A section that is the default of a key, with values of its own, keeps those that are not given: to name some of its keys
    changes no other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keep_defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {name: _over(field.default, given[name]) for name, field in cls.model_fields.items() if name in given} | {
            name: value for name, value in given.items() if name not in cls.model_fields
        }


def _over(default: object, given: object) -> object:
    """What is given of a section, over what its default was made with."""
    if not (isinstance(default, Section) and isinstance(given, Mapping)):
        return given
    own = {name: getattr(default, name) for name in default.model_fields_set}
    return own | {name: _over(own.get(name), value) for name, value in given.items()}


class _HasWorkers(Protocol):
    @property
    def workers(self) -> int | tuple[int, int]: ...


class Elastic:
    """What sections with a field `workers` tell of it."""

    @property
    def min_workers(self: _HasWorkers) -> int:
        """The fewest that training continues with; 0: in this process."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def max_workers(self: _HasWorkers) -> int:
        """The most that are used; 0: in this process."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


Family = Literal["whitened", "imagenet", "gradients", "altered"]
Precision = Literal["auto", "fp32", "bf16"]
Trained = Literal["full", "lora", "frozen"]
