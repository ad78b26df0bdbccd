"""Settings of the condensed release: a few pictures a class, for training classifiers."""

from typing import Annotated, Literal

from pydantic import Field

from pd.config.base import Positive, Section
from pd.config.training import TrainingSettings


class CondenseSettings(Section):
    """The kept candidates condensed to a few pictures a class."""

    labels: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="labels that make the classes: one, or several whose combinations are classes"
    )
    method: Literal["dm", "m3d", "dance"] = Field(
        "dm", description="dm: means of random networks agree; m3d: distributions do; dance: of trained networks, too"
    )
    per_class: Positive = Field(10, description="stored pictures a class")
    factor: Annotated[int, Field(ge=1, le=8)] = Field(
        1, description="parts a side of each picture: 2 gives four pictures of half the side in each (m3d's and dance's papers)"
    )
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="of the pictures, in [0, 1]; empty: the method's"
    )
    batch: Positive = Field(128, description="kept pictures of a class that a step looks at")
    width: Positive = Field(128, description="channels of the networks that are looked through")
    experts: Positive = Field(5, description="dance: networks that are trained on the kept pictures")
    expert_steps: Positive = Field(1000, description="dance: steps of each")
    calibration: Annotated[float, Field(ge=0)] = Field(1.0, description="dance: weight of the experts' cross-entropy")
    middle: bool = Field(True, description="dance: look through networks between untrained and trained; off: untrained ones")
    sheets_every: Annotated[int, Field(ge=0)] = Field(200, description="steps between two sheets of pictures; 0: none")
    accept_leak: bool = Field(
        False,
        description="release also what the audit calls a leak, finds worse than the kept pictures, or cannot tell",
    )
    training: TrainingSettings = Field(
        TrainingSettings(
            steps=1000,
            optimiser="sgd",
            momentum=0.5,
            weight_decay=0.0,
            schedule="constant",
            warmup=0.0,
            clip_norm=None,
            checkpoint_every=100,
        ),
        description="of the pictures of a class; classes are condensed side by side",
    )
