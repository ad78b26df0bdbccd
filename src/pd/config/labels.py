"""Settings of labels that are worked out: from votes of annotators."""

from typing import Annotated, Literal

from pydantic import Field

from pd.config.base import AnyPath, Positive, Section
from pd.config.training import TrainingSettings


class LabelsSettings(Section):
    """Labels from the votes of several annotators, before anything else reads labels."""

    votes: AnyPath = Field(description="CSV or Parquet with the columns image, annotator, label: one row a vote")
    column: Annotated[str, Field(min_length=1)] = Field("label", description="name of the label that the votes are about")
    method: Literal["majority", "dawid_skene", "crowd_layer", "ccc"] = Field(
        "dawid_skene",
        description="majority of the votes; dawid_skene: weighs annotators, looks at no image; crowd_layer and ccc: networks "
        "that look at the images",
    )
    least: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="a label of lower probability is left open; 0: every image with a vote gets one"
    )
    batch: Positive = Field(128, description="images a step (crowd_layer, ccc)")
    width: Positive | None = Field(None, description="width of the networks; empty: their default")
    warmup: Positive = Field(300, description="steps before the networks correct each other (ccc)")
    groups: Positive = Field(5, description="groups of alike annotators (ccc)")
    training: TrainingSettings = TrainingSettings(steps=900)
