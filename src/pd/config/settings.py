"""All settings of a run."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, Field, field_validator, model_validator

from pd.config.audit import AuditSettings
from pd.config.base import AnyPath, Gpus, Section
from pd.config.candidates import FilterSettings, GenerateSettings
from pd.config.classifier import ClassifierSettings
from pd.config.condense import CondenseSettings
from pd.config.formal import FormalSettings, PublicSettings
from pd.config.labels import LabelsSettings
from pd.config.model import ModelSettings
from pd.config.people import DataSettings, ReidSettings
from pd.config.release import ReleaseSettings
from pd.config.screen import ScreenSettings
from pd.config.sweep import SweepSettings
from pd.errors import UserError


def _without_credentials(value: str | None, key: str, fix: str) -> str | None:
    """The address; raises UserError, which does not repeat it, where a name or a password is in it: settings are kept."""
    if value and "@" in value.partition("://")[2]:
        raise UserError("credentials do not belong in an address", code="bad-address", where=key, fix=fix)
    return value


class TrackingSettings(Section):
    """Where else the trainings' figures go: never captions, names, pictures or paths."""

    mlflow: str | None = Field(None, description="an MLflow server's address, or a folder; empty: none (needs mlflow-skinny)")
    experiment: Annotated[str, Field(min_length=1)] = Field("pd", description="the MLflow experiment; each training is a run")

    @field_validator("mlflow")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        return _without_credentials(
            value, "tracking.mlflow", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )


class ClusterSettings(Section):
    """`pd submit`: which Ray cluster runs the job, and what the job's own process needs there."""

    address: str = Field("http://127.0.0.1:8265", description="the cluster's job server; better by an ssh tunnel than open")
    driver_cpus: Annotated[float, Field(ge=0)] = Field(0, description="CPUs of the job's own process; 0: it runs on the head")
    driver_gpus: Gpus = Field(0, description="GPUs of its own; its machine is chosen accordingly")
    wait_minutes: Annotated[float, Field(ge=0)] = Field(
        0, description="how long to wait for machines that an autoscaler starts; 0: use what is there"
    )

    silence_minutes: Annotated[float, Field(gt=0)] = Field(
        30, description="a command ends (exit code 1) when no machine of the cluster has answered for so long"
    )

    @field_validator("address")
    @classmethod
    def _no_credentials(cls, value: str) -> str | None:
        return _without_credentials(
            value, "cluster.address", "set RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) instead, or reach it by an ssh tunnel"
        )


class Settings(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field("faces", description="the run's folder name")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(7, description="everything follows from it")
    runs: AnyPath = Field(Path("runs"), description="the folder that holds run folders; or s3://bucket/prefix")
    address: str | None = Field(None, description="Ray cluster address; empty: a cluster that is there, or one in this process")
    data: DataSettings = DataSettings()
    labels: LabelsSettings | None = Field(None, description="labels from votes, or mended columns; empty: the data's own")
    screen: ScreenSettings | None = Field(None, description="clips of video screened for forgeries; empty: not")
    reid: ReidSettings = ReidSettings()
    teacher: ModelSettings = ModelSettings()
    generate: GenerateSettings = GenerateSettings()
    filter: FilterSettings = FilterSettings()
    student: ModelSettings = ModelSettings()
    audit: AuditSettings = AuditSettings()
    public: PublicSettings | None = Field(None, description="public pictures; empty: none")
    formal: FormalSettings | None = Field(None, description="a model with an epsilon beside the filtered student; empty: none")
    condense: CondenseSettings | None = Field(None, description="the kept pictures condensed to a few a class; empty: not")
    classifier: ClassifierSettings | None = Field(None, description="a classifier with an epsilon; empty: none")
    release: ReleaseSettings = ReleaseSettings()
    sweep: SweepSettings = SweepSettings()
    tracking: TrackingSettings = TrackingSettings()
    cluster: ClusterSettings = ClusterSettings()

    @model_validator(mode="after")
    def _scored(self) -> Self:
        lacking = [name for name in self.filter.families if name not in self.reid.spaces]
        if lacking:
            raise ValueError(f"filter.families names '{lacking[0]}', which reid.spaces does not score: add it there, too")
        if self.teacher.stop == "private":
            raise ValueError("teacher.stop = private: a teacher is meant to learn people; only a student can stop so")
        if self.student.stop == "generalises":
            raise ValueError(
                "student.stop = generalises: a student learns from nobody whose loss could be compared; set private"
            )
        return self

    @model_validator(mode="after")
    def _trained_elsewhere(self) -> Self:
        if self.student.trained is not None:
            raise ValueError("student.trained is set, and a student is what pd trains itself: set teacher.trained")
        if self.teacher.trained is not None and self.audit.shadows not in (0, "auto"):
            raise ValueError(
                "audit.shadows trains models as the teacher was trained, and of teacher.trained that is not known: "
                "set audit.shadows: 0"
            )
        return self

    @model_validator(mode="after")
    def _early(self) -> Self:
        if "early" in self.audit.arms and self.teacher.stop == "generalises":
            raise ValueError("audit.arms names `early`, and with teacher.stop = generalises the teacher is that already")
        if self.teacher.trained is not None and ("early" in self.audit.arms or self.teacher.stop == "generalises"):
            raise ValueError("teacher.trained is set: nothing is trained that could stop early (audit.arms, teacher.stop)")
        return self

    @model_validator(mode="after")
    def _taught(self) -> Self:
        if self.reid.teacher is not None and all(method.name == "supcon" for method in self.reid.methods):
            raise ValueError("reid.teacher teaches crrcd, aird or g2d, and reid.method names none of them")
        return self

    @model_validator(mode="after")
    def _labels_of_others(self) -> Self:
        counted = "formal" if self.formal is not None else "classifier" if self.classifier is not None else None
        if counted and self.labels is not None and self.labels.method != "majority":
            raise ValueError(
                f"labels.method = {self.labels.method} makes each label from everybody's, which no epsilon of `{counted}` "
                "counts: set labels.method: majority, or leave one of the sections out"
            )
        return self

    @model_validator(mode="after")
    def _cut(self) -> Self:
        if self.condense is not None and self.data.size % self.condense.factor:
            raise ValueError(
                f"condense.factor = {self.condense.factor} does not divide data.size = {self.data.size}: set 1, or another size"
            )
        return self

    @model_validator(mode="after")
    def _screened(self) -> Self:
        if self.screen is not None and (self.data.reader != "video" or self.data.preset is not None):
            raise ValueError("screen looks at clips of video: set data.reader: video, or leave the section out")
        if self.data.drop_flagged and self.screen is None:
            raise ValueError("data.drop_flagged leaves out what the section `screen` flags: add the section")
        return self

    @property
    def run_dir(self) -> Path:
        """The run's folder: `runs/name`; for one at `s3://` its mirror on this machine."""
        return self.runs / self.name

    @property
    def audited_arms(self) -> tuple[str, ...]:
        """The arms that are attacked: those asked for, and the condensed pictures where there are any."""
        return (*self.audit.arms, *(["condensed"] if self.condense else []))

    @property
    def unpublished_arms(self) -> tuple[str, ...]:
        """The arms whose figures are not released: the formal model's, where its weights alone are."""
        return ("formal",) if self.formal is not None and self.formal.release == "weights" else ()

    def digest(self) -> str:
        """16 hex digits that name the settings; what changes nothing in the run's results does not count.

        Nor does an optional section that is absent: adding one to `pd` names no old run anew.
        """
        held = self.model_dump(mode="json", exclude={"runs", "address", "name", "tracking", "cluster", "sweep", "release"})
        return digest_of({name: value for name, value in held.items() if value is not None})


def digest_of(value: object) -> str:
    """First 16 hex digits of the SHA-256 of a JSON value's canonical text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'teacher': {'steps': 9}} -> {'teacher.steps': 9}."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def section_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every valid dotted key, sections included."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        # A section, or an optional one: `LabelsSettings | None`.
        for kind in get_args(field.annotation) or (field.annotation,):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from section_keys(kind, f"{prefix}{name}.")
