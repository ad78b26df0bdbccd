"""Settings of labels that are worked out: from votes of annotators, or from noisy columns and columns with gaps."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pd.config.base import DiskPath, Positive, Section
from pd.config.semi_vit import SemiVitSettings
from pd.config.training import TrainingSettings

OF_COLUMNS = ("transition", "fill", "semi_vit")
PROBABILITY = ".probability"  # ends the names of the columns that say how sure a label is
OWN_COLUMNS = ("id", "image", "probability")  # of the tables that hold labels
LEAST_OF_FEW = 0.7  # ours


class LabelsSettings(Section):
    """Labels from the votes of several annotators, or mended columns of the data, before anything else reads labels."""

    votes: DiskPath | None = Field(
        None, description="CSV or Parquet on a disk with the columns image, annotator, label: one row a vote"
    )
    column: Annotated[str, Field(min_length=1)] = Field("label", description="name of the label that the votes are about")
    columns: tuple[str, ...] = Field(
        (), description="instead of votes: yes-or-no columns that are noisy or have gaps; with semi_vit also columns of classes"
    )
    method: Literal["majority", "dawid_skene", "crowd_layer", "ccc", "transition", "fill", "semi_vit"] = Field(
        "dawid_skene",
        description="majority of the votes; dawid_skene: weighs annotators, looks at no image; crowd_layer and ccc: networks "
        "that look at the images. Of columns: transition (how noisy is each?), fill (the gaps alone), or semi_vit (the gaps of "
        "columns of which little is known; of yes and no, or of several classes). labels.training.workers counts with semi_vit "
        "alone; other methods train in one process",
    )
    one_sided: bool = Field(False, description="labels may be missing, but are never given wrongly (transition); yours to know")
    least: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="a label of lower probability is left open; empty: with semi_vit 0.7, else 0, so that all are given"
    )
    batch: Positive = Field(128, description="images a step (all methods with networks)")
    width: Positive | None = Field(None, description="width of the networks; empty: their default")
    warmup: Positive = Field(300, description="steps before the networks correct each other (ccc); at most half of them all")
    groups: Positive = Field(5, description="groups of alike annotators (ccc)")
    semi_vit: SemiVitSettings = SemiVitSettings()
    training: TrainingSettings = TrainingSettings(steps=900)

    @property
    def sure(self) -> float:
        """The least probability of a label that is given."""
        if self.least is not None:
            return self.least
        return LEAST_OF_FEW if self.method == "semi_vit" else 0.0

    @property
    def looks(self) -> bool:
        """Whether the method looks at the images."""
        return self.method not in ("majority", "dawid_skene")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.votes is None) == (not self.columns):
            raise ValueError("name either labels.votes or labels.columns")
        if (self.method in OF_COLUMNS) != bool(self.columns):
            what = "columns takes method transition, fill or semi_vit" if self.columns else "votes takes another method"
            raise ValueError(f"labels.{what}, not {self.method}")
        own = [self.column] if self.column in OWN_COLUMNS else []
        if taken := [*own, *(name for name in (self.column, *self.columns) if name.endswith(PROBABILITY))]:
            raise ValueError(f"a label cannot be called '{taken[0]}': a column of pd's own is")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("labels.columns names a column twice")
        return self
